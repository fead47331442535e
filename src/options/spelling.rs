//! The many ways to write one option, evened out before argh sees them.
//!
//! Go's `flag`, which read the original's command line, takes one dash as two, and `-option=value`; argh `--long value`, `-s value`.
//! Never: touches a value. What follows an option that takes one stays as it is, dashes and all.

use argh::{FlagInfo, FlagInfoKind};

/// `args` as argh takes them, by the options in `flags`. Help and version go before everything else that was typed.
pub fn for_argh(args: Vec<String>, flags: &[FlagInfo<'static>]) -> Vec<String> {
    let mut words = Vec::with_capacity(args.len());
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        if arg == "--" {
            words.push(arg);
            words.extend(args);
            break;
        }
        let (name, value) = match arg.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (arg.as_str(), None),
        };
        let Some(flag) = flags.iter().find(|flag| is_spelling_of(name, flag)) else {
            words.push(arg);
            continue;
        };
        if ["--help", "--version"].contains(&flag.long) {
            return vec![flag.long.to_owned()];
        }
        match (&flag.kind, value.as_deref()) {
            (FlagInfoKind::Option { .. }, _) => {
                words.push(flag.long.to_owned());
                words.extend(value.or_else(|| args.next()));
            }
            // A switch that is said to be off is one that is not there.
            (FlagInfoKind::Switch, Some("false" | "0")) => {}
            (FlagInfoKind::Switch, Some("true" | "1") | None) => words.push(flag.long.to_owned()),
            (FlagInfoKind::Switch, Some(value)) => words.push(format!("{}={value}", flag.long)),
        }
    }
    words
}

/// One dash or two, the long name or the short one.
fn is_spelling_of(typed: &str, flag: &FlagInfo<'_>) -> bool {
    let Some(name) = typed.strip_prefix("--").or_else(|| typed.strip_prefix('-')) else {
        return false;
    };
    // argh's own entry for help has no short name.
    let short = if flag.long == "--help" { Some('h') } else { flag.short };
    flag.long.strip_prefix("--") == Some(name)
        || short.is_some_and(|short| name.strip_prefix(short) == Some(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flag(long: &'static str, short: Option<char>, takes_value: bool) -> FlagInfo<'static> {
        let kind = match takes_value {
            true => FlagInfoKind::Option { arg_name: "value" },
            false => FlagInfoKind::Switch,
        };
        FlagInfo { kind, long, short, ..FlagInfo::default() }
    }

    fn evened_out(args: &[&str]) -> Vec<String> {
        let flags = [
            flag("--listen", Some('l'), true),
            flag("--strict-headers", None, false),
            flag("--reuse", Some('r'), false),
        ];
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        for_argh(args, &flags)
    }

    #[test]
    fn one_dash_is_as_good_as_two() {
        assert_eq!(evened_out(&["-strict-headers"]), ["--strict-headers"]);
        assert_eq!(evened_out(&["--strict-headers"]), ["--strict-headers"]);
        assert_eq!(evened_out(&["-listen", ":1"]), ["--listen", ":1"]);
        assert_eq!(evened_out(&["--l", ":1"]), ["--listen", ":1"]);
    }

    #[test]
    fn a_value_may_follow_after_an_equals_sign() {
        assert_eq!(evened_out(&["-l=:8080"]), ["--listen", ":8080"]);
        assert_eq!(evened_out(&["--listen=:8080"]), ["--listen", ":8080"]);
        assert_eq!(evened_out(&["-listen=a=b"]), ["--listen", "a=b"]);
        assert_eq!(evened_out(&["-l="]), ["--listen", ""]);
    }

    #[test]
    fn a_value_is_never_touched() {
        for value in ["-strict-headers", "--help", "-h", "--", "-r=x", "--listen=:1", "-"] {
            assert_eq!(evened_out(&["-l", value, "-r"]), ["--listen", value, "--reuse"]);
        }
    }

    #[test]
    fn a_switch_takes_true_and_false_as_the_original_did() {
        assert_eq!(evened_out(&["-reuse=true", "-r=1"]), ["--reuse", "--reuse"]);
        assert_eq!(evened_out(&["-reuse=false", "-r=0"]), [""; 0]);
        assert_eq!(evened_out(&["-reuse=maybe"]), ["--reuse=maybe"]);
    }

    #[test]
    fn what_follows_two_dashes_is_no_option() {
        assert_eq!(evened_out(&["--", "-listen=:1"]), ["--", "-listen=:1"]);
    }

    #[test]
    fn what_is_no_known_option_stays_as_it_is() {
        assert_eq!(evened_out(&["-rl", "-listem=1", "x"]), ["-rl", "-listem=1", "x"]);
    }
}
