//! How names are looked up where libc is linked in.
//!
//! glibc asks the modules that the `hosts:` line of /etc/nsswitch.conf names. All but `files` and `dns` are shared libraries of
//! the machine's own glibc, and another one that loads them dies of SIGFPE or SIGABRT, even in the middle of a run.

/// To be called at the start: from now on names are in /etc/hosts or the DNS. A shared libc goes by its nsswitch.conf.
#[cfg(not(all(target_env = "gnu", target_feature = "crt-static")))]
pub fn begin() {}

#[cfg(all(target_env = "gnu", target_feature = "crt-static"))]
#[expect(unsafe_code, reason = "no crate offers it")]
pub fn begin() {
    use std::ffi::{c_char, c_int};

    unsafe extern "C" {
        /// glibc, nss/nss_database.c. Both texts end with a NUL, and it keeps copies; not to be called beside a look-up.
        fn __nss_configure_lookup(database: *const c_char, services: *const c_char) -> c_int;
    }
    // SAFETY: these are two constants that end with a NUL, and there are no other threads yet.
    let failed = unsafe { __nss_configure_lookup(c"hosts".as_ptr(), c"files dns".as_ptr()) };
    if failed != 0 {
        crate::report::warning!(
            "event=names-not-configured remedy=\"take host names out of -l and -s\""
        );
    }
}
