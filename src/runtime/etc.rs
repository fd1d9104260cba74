//! `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf` of a container: their text (pure), and their place on disk.
//!
//! They are files of the container's directory, bound over the image's. A running container keeps the inode it has
//! mounted, so they are rewritten in place and never renamed.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::spec::{ContainerSpec, ResolvConf};
use crate::host::files::{self, failed};

/// Returns the text of `/etc/hosts`: localhost in both families, then these lines.
pub fn hosts(lines: &[(String, Vec<String>)]) -> String {
    let mut text = String::from(
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n\
         ff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n",
    );
    for (address, names) in lines {
        // A line end in a name would forge further lines.
        let names: Vec<String> = names.iter().map(|name| one_line(name)).collect();
        text.push_str(&format!("{}\t{}\n", one_line(address), names.join(" ")));
    }
    text
}

/// Returns the text of `/etc/resolv.conf` (resolv.conf(5)).
pub fn resolv_conf(resolver: &ResolvConf) -> String {
    let mut text = String::new();
    for server in &resolver.nameservers {
        text.push_str(&format!("nameserver {}\n", one_line(server)));
    }
    for (word, values) in [("search", &resolver.search), ("options", &resolver.options)] {
        if !values.is_empty() {
            let values: Vec<String> = values.iter().map(|value| one_line(value)).collect();
            text.push_str(&format!("{word} {}\n", values.join(" ")));
        }
    }
    text
}

fn one_line(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

/// Directory of these files.
pub fn directory(writable: &Path) -> PathBuf {
    writable.join("files")
}

/// Writes the files that this container has; returns each with its target inside.
pub fn write(
    spec: &ContainerSpec,
    host_resolver: Option<&str>,
) -> Result<Vec<(PathBuf, &'static str)>, files::Error> {
    let directory = directory(&spec.rootfs.writable);
    files::make_private_dir(&directory)?;
    let resolver = match (&spec.resolv_conf, host_resolver) {
        (Some(resolver), _) => Some(resolv_conf(resolver)),
        (None, text) => text.map(str::to_owned),
    };
    let texts = [
        ("/etc/hosts", Some(hosts(&spec.hosts))),
        ("/etc/hostname", Some(format!("{}\n", one_line(&spec.hostname)))),
        ("/etc/resolv.conf", resolver),
    ];
    let mut written = Vec::new();
    for (target, text) in texts {
        let Some(text) = text else { continue };
        let path = directory.join(target.trim_start_matches("/etc/"));
        overwrite(&path, &text)?;
        written.push((path, target));
    }
    Ok(written)
}

/// Replaces a file's content but not the file.
pub fn overwrite(path: &Path, text: &str) -> Result<(), files::Error> {
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o644)
        .open(path)
        .map_err(failed("write", path))?;
    file.write_all(text.as_bytes()).map_err(failed("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_both_localhosts_and_names_cannot_forge_lines() {
        let text = hosts(&[("10.0.0.2".into(), vec!["web\n6.6.6.6 evil".into(), "w".into()])]);
        assert!(text.starts_with("127.0.0.1\tlocalhost\n::1\tlocalhost"), "{text}");
        assert!(text.ends_with("10.0.0.2\tweb6.6.6.6 evil w\n"), "{text}");
    }

    #[test]
    fn the_resolver_file_has_a_line_for_each_server() {
        let resolver = ResolvConf {
            nameservers: vec!["127.0.0.11".into()],
            search: vec!["a.example".into(), "b.example".into()],
            options: vec!["ndots:0".into()],
        };
        assert_eq!(
            resolv_conf(&resolver),
            "nameserver 127.0.0.11\nsearch a.example b.example\noptions ndots:0\n"
        );
        assert_eq!(resolv_conf(&ResolvConf::default()), "");
    }
}
