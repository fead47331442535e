use super::*;

fn parsed(args: &[&str]) -> Result<Config, Stop> {
    parse(args.iter().map(|arg| (*arg).to_owned()).collect())
}

#[track_caller]
fn config(args: &[&str]) -> Config {
    parsed(args).unwrap_or_else(|stop| panic!("{args:?}: {stop:?}"))
}

#[track_caller]
fn stop(args: &[&str]) -> Stop {
    match parsed(args) {
        Err(stop) => stop,
        Ok(_) => panic!("{args:?} was taken"),
    }
}

#[track_caller]
fn usage(args: &[&str]) -> String {
    match stop(args) {
        Stop::Usage(line) => {
            assert!(!line.contains('\n'), "{line:?}");
            line
        }
        other => panic!("{args:?}: {other:?}"),
    }
}

#[test]
fn nothing_typed_is_the_defaults() {
    let config = config(&[]);

    assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.server.to_string(), "ws://127.0.0.1:3000/cable");
    assert_eq!((config.server.port, config.server.path.as_str()), (3000, "/cable"));
    assert_eq!(config.session, Duration::from_secs(300));
    assert_eq!(config.connect_timeout, Duration::from_secs(10));
    assert_eq!(config.stale_after, Duration::from_secs(6));
    assert_eq!(config.resume_window, Duration::from_secs(30));
    assert_eq!(config.heartbeat, Duration::from_secs(15));
    assert_eq!((config.max_queue, config.max_queue_bytes), (1024, 1 << 20));
    assert_eq!((config.max_memory, config.max_body), (256 << 20, 1 << 20));
    assert_eq!((config.max_message, config.max_channels), (16 << 20, 256));
    assert_eq!((config.max_sessions, config.max_connections), (None, None));
    assert!(!config.reuse && !config.strict_headers && !config.demo);
    assert!(config.origin.is_none() && config.allow_origin.is_empty() && config.admin.is_none());
    assert_eq!(config.level, Level::Info);
}

#[test]
fn every_option_is_taken() {
    let config = config(&[
        "-l",
        ":9",
        "-s",
        "wss://h:1/c",
        "-r",
        "-S",
        "1m30s",
        "--strict-headers",
        "-d",
        "--origin",
        "https://A",
        "--allow-origin",
        "http://b",
        "--allow-origin",
        "http://c:81",
        "--connect-timeout",
        "1s",
        "--stale-after",
        "2s",
        "--resume-window",
        "3s",
        "--heartbeat",
        "250ms",
        "--max-queue",
        "4",
        "--max-queue-bytes",
        "5",
        "--max-memory",
        "6",
        "--max-body",
        "7",
        "--max-message",
        "8",
        "--max-sessions",
        "9",
        "--max-connections",
        "10",
        "--max-channels",
        "11",
        "--admin",
        "unix:/a",
    ]);

    assert_eq!(config.listen.to_string(), ":9");
    assert_eq!((config.server.tls, config.server.host.as_str()), (true, "h"));
    assert!(config.reuse && config.strict_headers);
    assert_eq!((config.session, config.level), (Duration::from_secs(90), Level::Debug));
    assert_eq!(config.origin.as_deref(), Some("https://a"));
    assert_eq!(config.allow_origin, ["http://b", "http://c:81"]);
    assert_eq!(config.connect_timeout, Duration::from_secs(1));
    assert_eq!(config.stale_after, Duration::from_secs(2));
    assert_eq!(config.resume_window, Duration::from_secs(3));
    assert_eq!(config.heartbeat, Duration::from_millis(250));
    assert_eq!((config.max_queue, config.max_queue_bytes, config.max_memory), (4, 5, 6));
    assert_eq!((config.max_body, config.max_message, config.max_channels), (7, 8, 11));
    assert_eq!((config.max_sessions, config.max_connections), (Some(9), Some(10)));
    assert_eq!(config.admin.map(|admin| admin.to_string()).as_deref(), Some("unix:/a"));
}

#[test]
fn the_originals_spellings_work() {
    let config = config(&["-strict-headers", "-l=:8080", "-s=ws://h:1/c", "-reuse", "-session=1h"]);

    assert!(config.strict_headers && config.reuse);
    assert_eq!(config.listen.to_string(), ":8080");
    assert_eq!(config.server.to_string(), "ws://h:1/c");
    assert_eq!(config.session, Duration::from_secs(3600));
}

#[test]
fn quiet_says_warnings_only() {
    assert_eq!(config(&["-q"]).level, Level::Warning);
}

#[test]
fn help_is_told_however_it_is_asked_for() {
    for help in ["-h", "-help", "--help"] {
        let Stop::Say(text) = stop(&["--max-queue", "0", help]) else { panic!("{help}") };

        assert!(text.starts_with("Usage: actioncable-to-eventsource"), "{text}");
        for (name, default) in [("--max-queue", "1024"), ("-l, --listen", "127.0.0.1:8080")] {
            assert!(text.contains(name) && text.contains(default), "{text}");
        }
    }
}

#[test]
fn the_version_is_told() {
    for version in ["--version", "-version"] {
        assert_eq!(stop(&[version]), Stop::Say("actioncable-to-eventsource 1.0.0\n".to_owned()));
    }
}

#[test]
fn a_value_that_looks_like_help_is_a_value() {
    assert_eq!(
        usage(&["-l", "--help"]),
        "-l: --help is no address, use host:port, :port, [::1]:port or unix:/path"
    );
}

#[test]
fn an_error_names_the_option_as_it_was_typed() {
    let remedy = "0 is out of range, use 1 or more";

    assert_eq!(usage(&["--max-queue", "0"]), format!("--max-queue: {remedy}"));
    assert_eq!(usage(&["-max-queue=0"]), format!("-max-queue: {remedy}"));
    assert_eq!(usage(&["-r", "--max-queue=0"]), format!("--max-queue: {remedy}"));
    assert_eq!(usage(&["-S", "0s"]), "-S: 0s is out of range, use 1ms or more");
    assert_eq!(usage(&["-session=0s"]), "-session: 0s is out of range, use 1ms or more");
}

#[test]
fn zero_is_out_of_range_for_every_limit_and_duration() {
    for option in [
        "--max-queue",
        "--max-queue-bytes",
        "--max-memory",
        "--max-body",
        "--max-message",
        "--max-sessions",
        "--max-connections",
        "--max-channels",
    ] {
        assert_eq!(usage(&[option, "0"]), format!("{option}: 0 is out of range, use 1 or more"));
    }
    for option in ["-S", "--connect-timeout", "--stale-after", "--resume-window", "--heartbeat"] {
        assert_eq!(
            usage(&[option, "0s"]),
            format!("{option}: 0s is out of range, use 1ms or more")
        );
    }
}

#[test]
fn a_server_with_another_scheme_is_out_of_range() {
    let line = usage(&["-s", "http://127.0.0.1:3000/cable?token=secret"]);

    assert!(line.starts_with("-s: http://127.0.0.1:3000/cable?… "), "{line}");
    assert!(line.contains("ws://"), "{line}");
}

#[test]
fn a_server_that_cannot_be_parsed_is_a_failure() {
    for url in ["ws://[::1", "nonsense"] {
        let Stop::Fail(line) = stop(&["--server", url]) else { panic!("{url}") };

        assert!(line.starts_with(&format!("--server: {url} ")), "{line}");
        assert!(!line.contains('\n'), "{line}");
    }
}

#[test]
fn an_option_that_is_not_there_is_named() {
    assert_eq!(usage(&["--colour=red"]), "--colour: no such option, --help lists them");
    assert_eq!(usage(&["-x\ny"]), "-x\\ny: no such option, --help lists them");
    assert_eq!(usage(&["-x\n"]), "-x\\n: no such option, --help lists them");
    assert!(usage(&[""]).starts_with("\"\": is no option, "));
    assert_eq!(
        usage(&["-r", "extra"]),
        "extra: is no option, and nothing else is taken, --help lists them"
    );
}

#[test]
fn an_option_without_its_value_is_named() {
    assert_eq!(usage(&["-r", "-listen"]), "-listen: needs a value, --help says which");
}

#[test]
fn a_switch_with_a_value_is_named() {
    assert_eq!(
        usage(&["-reuse=maybe"]),
        "-reuse: maybe is neither true nor false, write -reuse alone"
    );
}

#[test]
fn an_option_that_is_there_twice_is_refused() {
    assert_eq!(
        usage(&["-l", ":1", "--listen", ":2"]),
        "--listen: :2 is a second value, leave one of them out"
    );
}

#[test]
fn debug_and_quiet_contradict_each_other() {
    assert_eq!(
        usage(&["-q", "-d"]),
        "-d: says more, not less, and cannot be together with -q, leave one of them out"
    );
}

#[test]
fn demo_and_a_server_contradict_each_other() {
    assert_eq!(
        usage(&["-demo", "-s=ws://127.0.0.1:3000/cable"]),
        "-demo: is a server of its own and cannot be together with -s, leave one of them out"
    );
    assert!(config(&["--demo"]).demo);
}

#[test]
fn an_origin_that_is_none_is_refused() {
    for origin in ["null", "https://a/", "https://a/b", "a"] {
        assert!(usage(&["--allow-origin", origin]).starts_with("--allow-origin: "));
        assert!(usage(&["--origin", origin]).starts_with("--origin: "));
    }
}
