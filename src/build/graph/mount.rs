//! The mounts of RUN: values expanded, defaults filled in, contradictions refused.

use crate::build::dockerfile::{self, Fault, Problem, Sharing, Span, Word, boolean};

use super::evaluate::Walk;
use super::scope::Scope;
use super::{Bind, Mount, MountKind, Origin};

/// Sockets of agents so far, to number the next.
#[derive(Default)]
pub(super) struct SshPaths(Vec<String>);

impl SshPaths {
    /// Returns the path that `SSH_AUTH_SOCK` names.
    pub fn first(&self) -> Option<&str> {
        self.0.first().map(String::as_str)
    }
}

/// The fields of a mount, expanded.
#[derive(Default)]
struct Fields {
    kind: String,
    from: String,
    source: String,
    target: String,
    id: String,
    read_only: Option<bool>,
    required: Option<bool>,
    sharing: Option<Sharing>,
    size: Option<u64>,
    mode: Option<u32>,
    uid: Option<u32>,
    gid: Option<u32>,
    env: Option<String>,
}

impl Walk<'_> {
    pub(super) fn mount(
        &mut self,
        stage: usize,
        scope: &Scope,
        mount: &dockerfile::Mount,
        ssh: &mut SshPaths,
    ) -> Result<Mount, Fault> {
        let at = mount.at;
        let fields = self.fields(scope, mount)?;
        fields.check_allowed().map_err(|reason| Problem::at(at, reason))?;
        let kind = match fields.kind.as_str() {
            "bind" => self.bind(stage, scope, &fields, at)?,
            "cache" => self.cache(stage, scope, &fields, at)?,
            "tmpfs" => MountKind::Tmpfs { target: target(scope, &fields.target, at)?, size: fields.size },
            "secret" => secret(scope, &fields).map_err(|reason| Problem::at(at, reason))?,
            _ => {
                let path = match fields.target.as_str() {
                    "" => format!("/run/buildkit/ssh_agent.{}", ssh.0.len()),
                    path => scope.absolute(path),
                };
                ssh.0.push(path.clone());
                MountKind::Ssh {
                    id: if fields.id.is_empty() { "default".to_owned() } else { fields.id.clone() },
                    target: path,
                    required: fields.required.unwrap_or(false),
                    mode: fields.mode.unwrap_or(0o600),
                    uid: fields.uid.unwrap_or(0),
                    gid: fields.gid.unwrap_or(0),
                }
            }
        };
        Ok(Mount { at, kind })
    }

    fn fields(&mut self, scope: &Scope, mount: &dockerfile::Mount) -> Result<Fields, Fault> {
        let mut fields = Fields { kind: "bind".to_owned(), ..Fields::default() };
        for field in &mount.fields {
            let value = match &field.value {
                Some(text) => Some(self.word(scope, &Word { text: text.clone(), at: mount.at })?),
                None => None,
            };
            let text = value.clone().unwrap_or_default();
            if let Err(wanted) = fields.set(&field.key, value) {
                let message = format!("`{text}` is no value for `{}` of a mount: {wanted}", field.key);
                return Problem::at(mount.at, message).near(&text, known(&field.key)).fail();
            }
        }
        Ok(fields)
    }

    fn bind(&mut self, stage: usize, scope: &Scope, fields: &Fields, at: Span) -> Result<MountKind, Fault> {
        let from = match fields.from.as_str() {
            "" => Origin::Context,
            name => self.origin(stage, name, at, false)?,
        };
        Ok(MountKind::Bind(Bind {
            target: target(scope, &fields.target, at)?,
            from,
            source: super::scope::join("/", &fields.source),
            read_only: fields.read_only.unwrap_or(true),
        }))
    }

    fn cache(&mut self, stage: usize, scope: &Scope, fields: &Fields, at: Span) -> Result<MountKind, Fault> {
        let seed = match fields.from.as_str() {
            "" => None,
            name => match self.origin(stage, name, at, false)? {
                Origin::Scratch => None,
                origin => Some((origin, super::scope::join("/", &fields.source))),
            },
        };
        let path = target(scope, &fields.target, at)?;
        let id = match fields.id.as_str() {
            "" if fields.target.starts_with('/') => path.clone(),
            "" => super::scope::join("/", &fields.target).trim_start_matches('/').to_owned(),
            id => id.to_owned(),
        };
        Ok(MountKind::Cache {
            target: path,
            id,
            sharing: fields.sharing.unwrap_or_default(),
            read_only: fields.read_only.unwrap_or(false),
            seed,
            mode: fields.mode.unwrap_or(0o755),
            uid: fields.uid.unwrap_or(0),
            gid: fields.gid.unwrap_or(0),
        })
    }
}

fn target(scope: &Scope, path: &str, at: Span) -> Result<String, Fault> {
    match scope.absolute(path).as_str() {
        "/" => Problem::at(at, "a mount cannot be at `/`").hint("say where: `target=/some/path`").fail(),
        path => Ok(path.to_owned()),
    }
}

fn secret(scope: &Scope, fields: &Fields) -> Result<MountKind, String> {
    if !fields.source.is_empty() && !fields.id.is_empty() {
        return Err("a secret has an `id` or a `source`, not both: they mean the same".to_owned());
    }
    let base = |path: &str| path.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned();
    let id = [&fields.id, &fields.source].into_iter().find(|name| !name.is_empty()).cloned();
    let id = match id {
        Some(id) => id,
        None if !fields.target.is_empty() => base(&fields.target),
        None => fields.env.clone().unwrap_or_default(),
    };
    if id.is_empty() {
        return Err("a secret needs an `id`, or a `target` or `env` that names it".to_owned());
    }
    let target = match (fields.target.as_str(), &fields.env) {
        ("", Some(_)) => None,
        ("", None) => Some(format!("/run/secrets/{}", base(&id))),
        (path, _) => Some(scope.absolute(path)),
    };
    Ok(MountKind::Secret {
        id,
        target,
        env: fields.env.clone(),
        required: fields.required.unwrap_or(false),
        mode: fields.mode.unwrap_or(0o400),
        uid: fields.uid.unwrap_or(0),
        gid: fields.gid.unwrap_or(0),
    })
}

/// Returns the words that a field may have, when it is one of few.
fn known(key: &str) -> impl Iterator<Item = &'static str> {
    let words: &[&str] = match key {
        "type" => &KINDS,
        "sharing" => &["shared", "private", "locked"],
        _ => &[],
    };
    words.iter().copied()
}

const KINDS: [&str; 5] = ["bind", "cache", "tmpfs", "secret", "ssh"];

impl Fields {
    /// Sets one field; an error says what is wanted instead.
    fn set(&mut self, key: &str, value: Option<String>) -> Result<(), &'static str> {
        let flag = |value: &Option<String>| match value {
            None => Ok(true),
            Some(text) => boolean(text).ok_or("it is `true` or `false`"),
        };
        let text = value.clone().unwrap_or_default();
        let number = |text: &str| match text.bytes().all(|byte| byte.is_ascii_digit()) {
            true => text.parse::<u32>().map(Some).map_err(|_| "it is a number"),
            false => Err("it is a number"),
        };
        match key {
            "type" => {
                self.kind = text.to_ascii_lowercase();
                if !KINDS.contains(&self.kind.as_str()) {
                    return Err("it is `bind`, `cache`, `tmpfs`, `secret` or `ssh`");
                }
            }
            "from" => self.from = text,
            "source" | "src" => self.source = text,
            "target" | "dst" | "destination" => self.target = text,
            "readonly" | "ro" => self.read_only = Some(flag(&value)?),
            "readwrite" | "rw" => self.read_only = Some(!flag(&value)?),
            "required" => self.required = Some(flag(&value)?),
            "id" => self.id = text,
            "env" => self.env = Some(text),
            "sharing" => {
                self.sharing = Some(match text.to_ascii_lowercase().as_str() {
                    "shared" => Sharing::Shared,
                    "private" => Sharing::Private,
                    "locked" => Sharing::Locked,
                    _ => return Err("it is `shared`, `private` or `locked`"),
                });
            }
            "size" => self.size = Some(bytes(&text).ok_or("it is a size such as `64m` or `1g`")?),
            "mode" => {
                let mode = u32::from_str_radix(&text, 8).ok().filter(|mode| *mode <= 0o7777);
                self.mode = Some(mode.ok_or("it is octal, such as `0755`")?);
            }
            "uid" => self.uid = number(&text)?,
            _ => self.gid = number(&text)?,
        }
        Ok(())
    }

    /// Refuses fields that the kind of mount does not have.
    fn check_allowed(&self) -> Result<(), String> {
        let kind = self.kind.as_str();
        let owned = ["secret", "ssh", "cache"].contains(&kind);
        let asked = ["secret", "ssh"].contains(&kind);
        for (key, given, allowed) in [
            ("mode", self.mode.is_some(), owned),
            ("uid", self.uid.is_some(), owned),
            ("gid", self.gid.is_some(), owned),
            ("required", self.required.is_some(), asked),
            ("sharing", self.sharing.is_some(), kind == "cache"),
            ("size", self.size.is_some(), kind == "tmpfs"),
            ("env", self.env.is_some(), kind == "secret"),
            ("from", !self.from.is_empty(), !asked && kind != "tmpfs"),
        ] {
            if given && !allowed {
                return Err(format!("a mount of type `{kind}` has no `{key}`"));
            }
        }
        Ok(())
    }
}

/// Reads a size as Docker does: a number, maybe with a fraction, and `b`, `k`, `m`, `g`, `t`, `p`, each with an optional
/// `b` or `ib`; all are powers of 1024.
fn bytes(text: &str) -> Option<u64> {
    let lower = text.trim().to_ascii_lowercase();
    let end = lower.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(lower.len());
    let (number, unit) = lower.split_at(end);
    let number: f64 = number.parse().ok()?;
    let unit = unit.trim_start();
    let letter = match unit {
        "" | "b" => return Some(number as u64),
        _ => unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(unit),
    };
    let power = ["k", "m", "g", "t", "p"].iter().position(|known| *known == letter)?;
    Some((number * 1024_f64.powi(power as i32 + 1)) as u64)
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn sizes_are_read_as_docker_does() {
        let check = |text: &str, expected: Option<u64>| assert_eq!(bytes(text), expected, "{text}");
        check("512", Some(512));
        check("1k", Some(1024));
        check("1.5m", Some(3 << 19));
        check("2GB", Some(2 << 30));
        check("2 GiB", Some(2 << 30));
        check("7b", Some(7));
        check("huge", None);
        check("", None);
        check("1x", None);
        check("-1", None);
    }
}
