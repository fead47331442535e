//! The many ways to write one option, evened out before argh sees them, and the way back for errors.
//!
//! Go's `flag`, which read the original's command line, knows one dash and two as the same and takes
//! `-option=value`; argh knows `--long value` and `-s value`.
//! Never: touches a value. What follows an option that takes one stays as it is, dashes and all.
//! `one_line` turns what argh says into one line in the spelling that was typed.

use argh::{FlagInfo, FlagInfoKind};

use super::values::shown;

/// The command line, word by word.
pub struct Words {
    words: Vec<Word>,
    /// `--long` name and whether it takes a value, of each option there is.
    known: Vec<(&'static str, bool)>,
}

#[derive(Debug, PartialEq, Eq)]
struct Word {
    /// What argh is to see: an option in its long form, or a value.
    text: String,
    /// The option as the user wrote it, without `=value`. A value: itself.
    typed: String,
    option: bool,
}

impl Words {
    /// Reads `args` by the options in `flags`.
    pub fn of(args: Vec<String>, flags: &[FlagInfo<'static>]) -> Words {
        let mut words = Vec::with_capacity(args.len());
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            if arg == "--" {
                words.extend(std::iter::once(arg).chain(args).map(Word::value));
                break;
            }
            let takes_value = push(&mut words, arg, flags);
            if takes_value {
                words.extend(args.next().map(Word::value));
            }
        }
        let takes_value = |flag: &FlagInfo<'_>| !matches!(flag.kind, FlagInfoKind::Switch);
        Words { words, known: flags.iter().map(|flag| (flag.long, takes_value(flag))).collect() }
    }

    /// Whether this option, by its long name, is there.
    pub fn has(&self, long: &str) -> bool {
        self.words.iter().any(|word| word.option && word.text == long)
    }

    /// How the user wrote this option; its long name where he did not.
    pub fn spelled<'a>(&'a self, long: &'a str) -> &'a str {
        let word = self.words.iter().find(|word| word.option && word.text == long);
        word.map_or(long, |word| &word.typed)
    }

    pub fn for_argh(&self) -> Vec<&str> {
        self.words.iter().map(|word| word.text.as_str()).collect()
    }

    /// What argh says of these words, in one line: the option as typed, the cause, the remedy.
    pub fn one_line(&self, said: &str) -> String {
        let said = said.strip_suffix('\n').unwrap_or(said);
        for pair in self.words.windows(2) {
            let (option, value) = (&pair[0], &pair[1]);
            let start =
                format!("Error parsing option '{}' with value '{}': ", option.text, value.text);
            if let (true, Some(why)) = (option.option, said.strip_prefix(&start)) {
                return format!("{}: {}", option.typed, of_value(&value.text, why));
            }
        }
        let lacking =
            |word: &&Word| said == format!("No value provided for option '{}'.", word.text);
        if let Some(word) = self.words.last().filter(lacking) {
            return format!("{}: needs a value, --help says which", word.typed);
        }
        match said.strip_prefix("Unrecognized argument: ") {
            Some(word) => self.unrecognized(word),
            None => said.replace('\n', " "),
        }
    }

    fn unrecognized(&self, text: &str) -> String {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        if self.known.iter().any(|(long, takes_value)| *long == name && !takes_value) {
            let word = self.words.iter().find(|word| word.text == text);
            let typed = word.map_or(name, |word| &word.typed);
            return format!(
                "{typed}: {} is neither true nor false, write {typed} alone",
                shown(value)
            );
        }
        if text.starts_with('-') {
            return format!("{}: no such option, --help lists them", shown(name));
        }
        format!("{}: is no option, and nothing else is taken, --help lists them", shown(text))
    }
}

/// argh's word for an option that is there twice says neither what nor why.
fn of_value(value: &str, why: &str) -> String {
    match why {
        "duplicate values provided" => {
            format!("{} is a second value, leave one of them out", shown(value))
        }
        _ => why.to_owned(),
    }
}

impl Word {
    fn value(text: String) -> Word {
        Word { typed: text.clone(), text, option: false }
    }

    fn option(text: &str, typed: &str) -> Word {
        Word { text: text.to_owned(), typed: typed.to_owned(), option: true }
    }
}

/// Adds one argument that stands where an option may stand; `true` when its value is still to come.
fn push(words: &mut Vec<Word>, arg: String, flags: &[FlagInfo<'static>]) -> bool {
    let (typed, value) = match arg.split_once('=') {
        Some((typed, value)) => (typed, Some(value)),
        None => (arg.as_str(), None),
    };
    let Some(flag) = flags.iter().find(|flag| is_spelling_of(typed, flag)) else {
        words.push(Word { text: arg.clone(), typed: typed.to_owned(), option: true });
        return false;
    };
    let switch = matches!(flag.kind, FlagInfoKind::Switch);
    match value {
        // A switch that is said to be off is one that is not there.
        Some("false" | "0") if switch => return false,
        Some("true" | "1") | None if switch => words.push(Word::option(flag.long, typed)),
        Some(value) if switch => {
            words.push(Word::option(&format!("{}={value}", flag.long), typed));
        }
        Some(value) => {
            words.push(Word::option(flag.long, typed));
            words.push(Word::value(value.to_owned()));
        }
        None => words.push(Word::option(flag.long, typed)),
    }
    !switch && value.is_none()
}

/// One dash or two, the long name or the short one.
fn is_spelling_of(typed: &str, flag: &FlagInfo<'_>) -> bool {
    let Some(name) = typed.strip_prefix("--").or_else(|| typed.strip_prefix('-')) else {
        return false;
    };
    let mut letters = name.chars();
    let short = letters.next().filter(|_| letters.next().is_none());
    // argh's own entry for help has no short name.
    let flag_short = if flag.long == "--help" { Some('h') } else { flag.short };
    flag.long.strip_prefix("--") == Some(name) || (short.is_some() && short == flag_short)
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
        Words::of(args, &flags).for_argh().into_iter().map(str::to_owned).collect()
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
    fn what_nobody_knows_stays_as_it_is() {
        assert_eq!(evened_out(&["-rl", "-listem=1", "x"]), ["-rl", "-listem=1", "x"]);
    }
}
