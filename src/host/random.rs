//! Random names.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::files::{self, failed};

/// How many digits of a container's id are its host name.
const HOST_NAME: usize = 12;

/// Returns the id of a new container: 64 digits, of which those that are its host name are no number. gethostbyname(3) takes
/// such a name for an address, as Docker found out.
pub fn container_id() -> Result<String, files::Error> {
    loop {
        let id = hex(32)?;
        if !is_number(&id[..HOST_NAME]) {
            return Ok(id);
        }
    }
}

fn is_number(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_digit())
}

/// Returns `bytes` random bytes as lower-case hexadecimal digits.
pub fn hex(bytes: usize) -> Result<String, files::Error> {
    let path = Path::new("/dev/urandom");
    let mut random = vec![0; bytes];
    File::open(path).and_then(|mut file| file.read_exact(&mut random)).map_err(failed("read", path))?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_no_number() {
        assert!(is_number("469842606513") && !is_number("46984260651a"));
        // One of 281 would be.
        for _ in 0..5000 {
            let id = container_id().expect("random");
            assert!(id.len() == 64 && !is_number(&id[..12]), "{id}");
        }
    }
}
