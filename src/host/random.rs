//! Random names.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::files::{self, failed};

/// Returns `bytes` random bytes as lower-case hexadecimal digits.
pub fn hex(bytes: usize) -> Result<String, files::Error> {
    let path = Path::new("/dev/urandom");
    let mut random = vec![0; bytes];
    File::open(path).and_then(|mut file| file.read_exact(&mut random)).map_err(failed("read", path))?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}
