//! Starts programs: cargo without the variables that `cargo run` leaves behind, and runs that fail with the
//! command line in the error.

use std::ffi::OsStr;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

/// The cargo that runs this program, as if the user had started it.
///
/// `cargo run` sets `CARGO_MANIFEST_DIR` and others for its child. Handed on to a second cargo, they look like
/// a changed environment to build scripts and cause rebuilds.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(is_left_by_cargo_run) {
            command.env_remove(name);
        }
    }
    command
}

fn is_left_by_cargo_run(name: &str) -> bool {
    name.starts_with("CARGO_PKG_")
        || name.starts_with("CARGO_MANIFEST_")
        || [
            "CARGO_BIN_NAME",
            "CARGO_CRATE_NAME",
            "CARGO_PRIMARY_PACKAGE",
            "LD_LIBRARY_PATH",
            "OUT_DIR",
        ]
        .contains(&name)
}

/// Runs `command` with the terminal's own input and output.
///
/// # Errors
/// The program is missing, or ends with anything but success.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot start `{}`", line(command)))?;
    if !status.success() {
        bail!("`{}` failed ({status})", line(command));
    }
    Ok(())
}

/// Runs `command` and returns what it wrote to standard output; its errors go to the terminal.
///
/// # Errors
/// As for [`run`]; also when the output is not UTF-8.
pub(crate) fn output(command: &mut Command) -> anyhow::Result<String> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start `{}`", line(command)))?;
    if !output.status.success() {
        bail!("`{}` failed ({})", line(command), output.status);
    }
    String::from_utf8(output.stdout)
        .with_context(|| format!("`{}` wrote something that is not UTF-8", line(command)))
}

/// Whether `command` starts and ends with success; what it prints is thrown away.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// The command line as one would type it; only the file name of the program, long arguments cut.
pub(crate) fn line(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program());
    let mut line = shown(program.file_name().unwrap_or(program.as_os_str()));
    for arg in command.get_args() {
        line.push(' ');
        line.push_str(&shown(arg));
    }
    line
}

fn shown(arg: &OsStr) -> String {
    const LENGTH_MAX: usize = 160;
    let text = arg.to_string_lossy();
    let cut: String = text.chars().take_while(|c| *c != '\n').take(LENGTH_MAX).collect();
    let cut = if cut.len() < text.len() {
        format!("{cut}...")
    } else {
        cut
    };
    if cut.is_empty() || cut.contains([' ', '"', '$', '*', '(', ')', ';', '&', '|']) {
        format!("'{cut}'")
    } else {
        cut
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_shows_the_program_name_and_quotes_what_needs_it() {
        let mut command = Command::new("/usr/bin/env");
        command.args(["-i", "a b", "", "line one\nline two"]);
        assert_eq!(line(&command), "env -i 'a b' '' 'line one...'");
    }

    #[test]
    fn variables_of_cargo_run_are_told_from_settings() {
        assert!(is_left_by_cargo_run("CARGO_MANIFEST_DIR"));
        assert!(is_left_by_cargo_run("CARGO_PKG_VERSION"));
        assert!(!is_left_by_cargo_run("CARGO_TARGET_DIR"));
        assert!(!is_left_by_cargo_run("CARGO_HOME"));
    }

    #[test]
    fn a_missing_program_is_named_and_does_not_succeed() {
        let error = run(&mut Command::new("edgeward-no-such-program")).unwrap_err();
        assert!(error.to_string().contains("edgeward-no-such-program"), "{error}");
        assert!(!succeeds(&mut Command::new("edgeward-no-such-program")));
    }
}
