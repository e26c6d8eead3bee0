//! How `catalog import --diff` shows a record that would change.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use serde::Serialize;
use serde_json::value::RawValue;
use serverless_catalog::{
    imports::{FieldChange, RecordChange},
    outcome::Outcome,
};

const OLD: Style = AnsiColor::Red.on_default();
const NEW: Style = AnsiColor::Green.on_default();
const CHANGED: Style = AnsiColor::Yellow.on_default();

/// A change as a line of JSON.
pub(super) fn json(file: &str, change: &RecordChange) -> String {
    #[derive(Serialize)]
    struct Line<'a> {
        change: Change<'a>,
    }
    #[derive(Serialize)]
    struct Change<'a> {
        file: &'a str,
        #[serde(flatten)]
        change: &'a RecordChange,
    }
    // Serializing strings and JSON cannot fail.
    serde_json::to_string(&Line { change: Change { file, change } }).unwrap_or_default()
}

/// A change in words: a line for the record, and one for each field.
pub(super) fn words(file: &str, change: &RecordChange) -> String {
    let RecordChange { kind, id, line, outcome, fields } = change;
    let place = line.map_or_else(|| format!("not in {file}"), |line| format!("{file}:{line}"));
    let style = match outcome {
        Outcome::Created => NEW,
        Outcome::Deleted => OLD,
        _ => CHANGED,
    };
    let bold = style.bold();
    let mut text =
        format!("{bold}{outcome} {kind} {}{bold:#} ({})", printable(id), printable(&place));
    for FieldChange { path, old, new } in fields {
        let path = printable(path);
        let value = |value: &RawValue| printable(value.get());
        // Writing to a string cannot fail.
        let _ = match (old, new) {
            (Some(old), Some(new)) => {
                let (old, new) = (value(old), value(new));
                write!(text, "\n  ~ {path}: {OLD}{old}{OLD:#} → {NEW}{new}{NEW:#}")
            }
            (Some(old), None) => write!(text, "\n  - {path}: {OLD}{}{OLD:#}", value(old)),
            (None, Some(new)) => write!(text, "\n  + {path}: {NEW}{}{NEW:#}", value(new)),
            (None, None) => Ok(()),
        };
    }
    text
}

/// The text without characters that a terminal would interpret, as JSON escapes them.
fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            let _ = write!(printable, "\\u{:04x}", u32::from(c));
        } else {
            printable.push(c);
        }
    }
    printable
}

#[cfg(test)]
mod tests {
    use serverless_catalog::imports::Kind;

    use super::*;

    #[test]
    fn no_value_commands_the_terminal_and_no_number_loses_a_digit() {
        let raw = |text: &str| Some(RawValue::from_string(text.to_owned()).expect("JSON"));
        let field = FieldChange {
            path: "metadata".to_owned(),
            old: raw("12345678901234567890.12345678"),
            new: raw("\"\u{9b}31m\""),
        };
        let change = RecordChange {
            kind: Kind::Offering,
            id: "a".to_owned(),
            line: None,
            outcome: Outcome::Updated,
            fields: vec![field],
        };
        let plain = anstream::adapter::strip_str(&words("a.ndjson", &change)).to_string();
        let told = "updated offering a (not in a.ndjson)\n  ~ metadata: 12345678901234567890.12345678 → \"\\u009b31m\"";
        assert_eq!(plain, told);
        let json = json("a.ndjson", &change);
        let told = r#"{"change":{"file":"a.ndjson","kind":"offering","id":"a","line":null,"outcome":"updated","fields":[{"path":"metadata","old":12345678901234567890.12345678,"new":"#;
        assert_eq!(json, format!("{told}\"\u{9b}31m\"}}]}}}}"));
    }

    #[test]
    fn what_is_new_is_green_what_goes_is_red_and_what_changes_is_yellow() {
        let told = |outcome: Outcome| {
            let id = "a\u{7}".to_owned();
            let change = RecordChange {
                kind: Kind::Product,
                id,
                line: Some(3),
                outcome,
                fields: Vec::new(),
            };
            words("b\n.csv", &change)
        };
        for (outcome, name, colour) in [
            (Outcome::Created, "created", 32),
            (Outcome::Deleted, "deleted", 31),
            (Outcome::Updated, "updated", 33),
        ] {
            let expected = format!(
                "\u{1b}[1m\u{1b}[{colour}m{name} product a\\u0007\u{1b}[0m (b\\u000a.csv:3)"
            );
            assert_eq!(told(outcome), expected);
        }
    }
}
