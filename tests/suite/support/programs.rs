//! Programs of this machine as files that an image can be made of: a shell and a few more, with their libraries. So
//! tests of `RUN` need no image.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const NAMES: [&str; 10] = ["sh", "cat", "sleep", "mkdir", "ln", "ls", "rm", "id", "wc", "chown"];

/// Puts the programs below a directory.
pub fn copy_to(root: &Path) {
    for name in NAMES {
        let found = ["/bin", "/usr/bin"].iter().map(|directory| Path::new(directory).join(name));
        let program = found.into_iter().find(|path| path.exists()).expect(name);
        put(&program, &root.join("bin").join(name));
        let output = Command::new("ldd").arg(&program).output().expect("ldd");
        for library in libraries(&String::from_utf8_lossy(&output.stdout)) {
            let place = root.join(library.strip_prefix("/").expect("absolute"));
            put(&library, &place);
        }
    }
}

/// The absolute paths in what ldd(1) prints: `libc.so.6 => /lib/libc.so.6 (0x…)`, `/lib64/ld-linux.so.2 (0x…)`.
fn libraries(text: &str) -> Vec<PathBuf> {
    let path = |line: &str| line.split_whitespace().find(|word| word.starts_with('/')).map(PathBuf::from);
    text.lines().filter_map(path).collect()
}

fn put(from: &Path, to: &Path) {
    fs::create_dir_all(to.parent().expect("a file")).expect("a directory");
    if !to.exists() {
        fs::copy(from, to).expect("copied");
    }
}
