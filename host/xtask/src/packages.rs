//! Debian packages that tasks need: installed where nobody has to be asked.

use std::process::Command;

use crate::command;

/// Installs packages with apt-get, as root or where sudo wants no password. False where that does not work.
pub(crate) fn install(packages: &[&str]) -> bool {
    let script = format!(
        "get='env DEBIAN_FRONTEND=noninteractive apt-get'; [ \"$(id -u)\" = 0 ] || get=\"sudo -n $get\"; \
        $get install -y {packages} || {{ $get update && $get install -y {packages}; }}",
        packages = packages.join(" ")
    );
    command::succeeds(Command::new("sh").args(["-c", &script]))
}
