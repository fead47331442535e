use super::*;

fn parsed(args: &[&str]) -> Result<Config, Stop> {
    parse(args.iter().map(|arg| (*arg).to_owned()).collect())
}

#[track_caller]
fn config(args: &[&str]) -> Config {
    match parsed(args) {
        Ok(config) => config,
        Err(_) => panic!("{args:?} was refused"),
    }
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
        Stop::Wrong(Error::Usage(line)) => {
            assert!(!line.contains(char::is_control), "{line:?}");
            line
        }
        _ => panic!("{args:?}"),
    }
}

#[test]
fn nothing_typed_is_the_defaults() {
    let config = config(&[]);

    assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.server().unwrap().to_string(), "ws://127.0.0.1:3000/cable");
    assert_eq!(config.session, Duration::from_secs(300));
    assert_eq!(config.connect_timeout, Duration::from_secs(10));
    assert_eq!(config.stale_after, Duration::from_secs(6));
    assert_eq!(config.resume_window, Duration::from_secs(30));
    assert_eq!(config.heartbeat, Duration::from_secs(15));
    assert_eq!((config.max_queue, config.max_queue_bytes), (1024, 1 << 20));
    assert_eq!((config.max_memory, config.max_body), (None, 1 << 20));
    assert_eq!((config.max_message, config.max_channels), (16 << 20, 256));
    assert_eq!((config.max_sessions, config.max_connections), (None, None));
    assert!(!config.reuse && !config.strict_headers && !config.demo);
    assert!(config.origin.is_none() && config.allow_origin.is_empty() && config.admin.is_none());
    assert_eq!((config.idle_timeout, config.host_header.clone()), (Duration::from_secs(75), None));
    assert_eq!(config.level(), Level::Info);
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
        "--idle-timeout",
        "4s",
        "--host-header",
        "app:81",
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
    assert_eq!(config.server().unwrap().to_string(), "wss://h:1/c");
    assert!(config.reuse && config.strict_headers);
    assert_eq!((config.session, config.level()), (Duration::from_secs(90), Level::Debug));
    assert_eq!(config.origin.as_deref(), Some("https://a"));
    assert_eq!(config.allow_origin, ["http://b", "http://c:81"]);
    assert_eq!(config.connect_timeout, Duration::from_secs(1));
    assert_eq!(config.stale_after, Duration::from_secs(2));
    assert_eq!(config.resume_window, Duration::from_secs(3));
    assert_eq!(config.heartbeat, Duration::from_millis(250));
    assert_eq!(config.idle_timeout, Duration::from_secs(4));
    assert_eq!(config.host_header.as_deref(), Some("app:81"));
    assert_eq!((config.max_queue, config.max_queue_bytes, config.max_memory), (4, 5, Some(6)));
    assert_eq!((config.max_body, config.max_message, config.max_channels), (7, 8, 11));
    assert_eq!((config.max_sessions, config.max_connections), (Some(9), Some(10)));
    assert_eq!(config.admin.map(|admin| admin.to_string()).as_deref(), Some("unix:/a"));
}

#[test]
fn the_originals_spellings_work() {
    let config = config(&["-strict-headers", "-l=:8080", "-s=ws://h:1/c", "-reuse", "-session=1h"]);

    assert!(config.strict_headers && config.reuse);
    assert_eq!(config.listen.to_string(), ":8080");
    assert_eq!(config.server().unwrap().to_string(), "ws://h:1/c");
    assert_eq!(config.session, Duration::from_secs(3600));
}

#[test]
fn quiet_says_warnings_only() {
    assert_eq!(config(&["-q"]).level(), Level::Warning);
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
fn a_server_with_another_scheme_is_out_of_range() {
    let line = usage(&["-s", "http://127.0.0.1:3000/cable?token=secret"]);

    assert!(line.starts_with("--server: http://127.0.0.1:3000/cable?… "), "{line}");
    assert!(line.contains("ws://"), "{line}");
}

#[test]
fn a_server_that_cannot_be_parsed_is_a_failure() {
    for url in ["ws://[::1", "nonsense"] {
        let Stop::Wrong(Error::Start(line)) = stop(&["--server", url]) else { panic!("{url}") };

        assert!(line.starts_with(&format!("--server: {url} ")), "{line}");
        assert!(!line.contains('\n'), "{line}");
    }
}

#[test]
fn whatever_was_typed_is_told_in_one_line() {
    for typed in ["--colour=red", "-x\ny", "", "-reuse=maybe", "--", "-listen"] {
        assert!(
            !usage(&["-r", typed, "b\x1b"][..if typed == "-listen" { 2 } else { 3 }]).is_empty()
        );
    }
    assert!(usage(&["-l", "--help"]).contains("is no address"));
    assert!(usage(&["-S=0s"]).contains("--session"));
}

#[test]
fn what_contradicts_itself_is_refused() {
    usage(&["-l", ":1", "--listen", ":2"]);
    usage(&["-q", "-d"]);
    usage(&["-demo", "-s=ws://127.0.0.1:3000/cable"]);
    assert!(config(&["--demo"]).demo);
}
