//! Where programs are.

use std::{
    env,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// One of our own programs has not been built.
#[derive(Debug, thiserror::Error)]
#[error("there is no `{name}` in {}; build it with `cargo build --workspace --bins{flag}`", .looked_in.iter().map(|dir| dir.display().to_string()).collect::<Vec<_>>().join(" or "))]
pub struct BinaryNotFound {
    /// What was looked for.
    pub name: String,
    /// Where.
    pub looked_in: Vec<PathBuf>,
    flag: &'static str,
}

/// One of this workspace's programs: beside the running one, or one directory
/// up, where it is for a test (`target/debug/deps/…`).
///
/// # Errors
///
/// [`BinaryNotFound`], which says how to build it.
pub fn find_binary(name: &str) -> Result<PathBuf, BinaryNotFound> {
    let own = env::current_exe().unwrap_or_default();
    let looked_in: Vec<PathBuf> = own
        .ancestors()
        .skip(1)
        .take(2)
        .map(Path::to_owned)
        .collect();
    find_in(name, looked_in.iter()).ok_or_else(|| BinaryNotFound {
        name: name.to_owned(),
        flag: if looked_in.iter().any(|dir| dir.ends_with("release")) {
            " --release"
        } else {
            ""
        },
        looked_in,
    })
}

/// A program of the system: in `PATH`, or where Debian keeps the
/// administrator's ones, which an ordinary user's `PATH` leaves out.
#[must_use]
pub fn find_in_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut directories: Vec<PathBuf> = env::split_paths(&path).collect();
    directories.extend(["/usr/bin", "/usr/sbin", "/sbin"].map(PathBuf::from));
    find_in(name, directories.iter())
}

fn find_in<'a>(name: &str, directories: impl Iterator<Item = &'a PathBuf>) -> Option<PathBuf> {
    directories
        .map(|directory| directory.join(name))
        .find(|path| is_executable(path))
}

/// Whether it is a file that somebody may execute.
pub(crate) fn is_executable(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}
