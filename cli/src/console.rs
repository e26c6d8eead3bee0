//! Output that survives a closed pipe.

use std::io::Write as _;

/// Writes a line to standard output. A closed pipe (`catalog keys list | head -1`) is not an error.
pub(crate) fn say(line: impl AsRef<str>) {
    let _ = writeln!(std::io::stdout(), "{}", line.as_ref());
}

/// Writes a line with styles to standard output: with colours on a terminal, without them elsewhere or if
/// `NO_COLOR` is set. `CLICOLOR_FORCE` forces them.
pub(crate) fn say_styled(line: impl AsRef<str>) {
    let _ = writeln!(anstream::stdout(), "{}", line.as_ref());
}

/// Writes a line to standard error.
pub(crate) fn warn(line: impl AsRef<str>) {
    let _ = writeln!(std::io::stderr(), "{}", line.as_ref());
}
