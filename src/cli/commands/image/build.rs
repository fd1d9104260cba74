//! `rcompose image build`

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::super::build::{Unhonoured, agents, arguments, checked};
use crate::cli::args::size;
use crate::cli::context::{Context, usage};
use crate::ops::Ears;
use crate::ops::build::{Alone, LIMITS, Secret, build_alone};
use crate::ops::store::{self, Form, Target};
use crate::report::{Exit, Report};
use crate::ui::console;

/// Options of `image build`. A switch that is given twice is on.
#[derive(Debug, clap::Args)]
#[command(args_override_self = true)]
pub struct Args {
    /// The context: a directory, a URL, a repository, or `-` for standard input (an archive, or a Dockerfile alone)
    #[arg(value_name = "PATH|URL|-")]
    context: String,
    /// The Dockerfile, when it is not the context's `Dockerfile`; `-` is standard input
    #[arg(short, long, value_name = "FILE")]
    file: Option<String>,
    /// Give the image this name; may be repeated
    #[arg(short, long = "tag", value_name = "NAME")]
    tags: Vec<String>,
    /// Give an `ARG` of the Dockerfile this value; without a value, that of the variable of the same name
    #[arg(long = "build-arg", value_name = "NAME[=VALUE]")]
    args: Vec<String>,
    /// Build this stage instead of the last one
    #[arg(long, value_name = "STAGE")]
    target: Option<String>,
    /// Set a label on the image
    #[arg(long = "label", value_name = "NAME=VALUE")]
    labels: Vec<String>,
    /// What the image is for (`linux/arm64`)
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// A further context: a directory, a URL, a repository, `docker-image://NAME`, `oci-layout://DIR`
    #[arg(long = "build-context", value_name = "NAME=PLACE")]
    contexts: Vec<String>,
    /// A secret that steps may mount: `id=ID,src=FILE` or `id=ID,env=VARIABLE`
    #[arg(long = "secret", value_name = "SECRET")]
    secrets: Vec<String>,
    /// Let steps ask this agent, by its socket, or keys in files; without, the agent of SSH_AUTH_SOCK
    #[arg(long, value_name = "ID[=SOCKET|KEY[,KEY]]")]
    ssh: Vec<String>,
    /// Network of steps: `default`, `none` or `host`
    #[arg(long, value_name = "NETWORK")]
    network: Option<String>,
    /// A line of /etc/hosts for steps
    #[arg(long = "add-host", value_name = "NAME:ADDRESS")]
    hosts: Vec<String>,
    /// Size of /dev/shm for steps
    #[arg(long, value_name = "SIZE", value_parser = size)]
    shm_size: Option<u64>,
    /// A resource limit of steps
    #[arg(long = "ulimit", value_name = "NAME=SOFT[:HARD]")]
    limits: Vec<String>,
    /// Let steps ask for this privilege: `network.host`, `security.insecure`
    #[arg(long = "allow", value_name = "PRIVILEGE")]
    entitlements: Vec<String>,
    /// Use what others have done: `NAME`, `type=registry,ref=NAME`, `type=local,src=DIR`
    #[arg(long, value_name = "CACHE")]
    cache_from: Vec<String>,
    /// Let others use what is done: `type=registry,ref=NAME`, `type=local,dest=DIR`; `mode=max` is all stages
    #[arg(long, value_name = "CACHE")]
    cache_to: Vec<String>,
    /// Do every step again
    #[arg(long)]
    no_cache: bool,
    /// Ask registries for newer base images
    #[arg(long)]
    pull: bool,
    /// Give the image to its registry
    #[arg(long)]
    push: bool,
    /// No progress; print the image's id
    #[arg(short, long)]
    quiet: bool,
    /// Where else the image goes: `type=docker,dest=FILE`, `type=oci,dest=FILE` (archives), `type=registry` (as `--push`)
    #[arg(short, long = "output", value_name = "OUTPUT")]
    outputs: Vec<Output>,
    /// Write what came of it to this file, as JSON
    #[arg(long, value_name = "FILE")]
    metadata_file: Option<PathBuf>,
    /// Write the image's id to this file
    #[arg(long, value_name = "FILE")]
    iidfile: Option<PathBuf>,
    /// Say what is doubtful in the Dockerfile, and build nothing
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    unhonoured: Unhonoured,
    /// The image is in the store, as always
    #[arg(long, hide = true)]
    load: bool,
    /// Nothing is left of steps, as always
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    rm: Option<bool>,
    /// Nothing is left of steps, as always
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    force_rm: Option<bool>,
}

impl Args {
    /// Builds it.
    pub fn run(self, context: &Context) -> Result<Exit, Report> {
        let (quiet, check, iidfile) = (self.quiet, self.check, self.iidfile.clone());
        let (outputs, metadata, tags) = (self.outputs.clone(), self.metadata_file.clone(), self.tags.clone());
        self.unhonoured.name(context);
        for (option, value) in [("--rm", self.rm), ("--force-rm", self.force_rm)] {
            if value == Some(false) {
                context.warning(&format!("`{option}=false` is not honoured: nothing is left of steps"));
            }
        }
        let alone = self.read()?;
        let platform = alone.platform.clone();
        let built = build_alone(&context.session(), &alone)?;
        if check {
            return Ok(checked(built.doubts));
        }
        if let Some(id) = built.images.last() {
            let words = if tags.is_empty() { std::slice::from_ref(id) } else { &tags };
            for output in &outputs {
                output.write(context, words, platform.as_deref())?;
            }
            if let Some(path) = metadata {
                write_metadata(&path, id, &tags)?;
            }
            if quiet {
                console::out_line(id);
            }
            if let Some(path) = iidfile {
                std::fs::write(&path, id).map_err(|error| {
                    Report::new(Exit::Failure, format!("cannot write `{}`", path.display()))
                        .cause(error.to_string())
                })?;
            }
        }
        Ok(Exit::Success)
    }

    fn read(self) -> Result<Alone, Report> {
        Ok(Alone {
            context: self.context,
            file: self.file,
            tags: self.tags,
            stage: self.target,
            args: arguments(&self.args)?,
            labels: pairs("--label", &self.labels)?,
            platform: self.platform,
            contexts: pairs("--build-context", &self.contexts)?,
            secrets: self.secrets.iter().map(|word| secret(word)).collect::<Result<_, _>>()?,
            ssh: agents(&self.ssh)?,
            network: self.network,
            hosts: self.hosts.iter().map(|word| host(word)).collect::<Result<_, _>>()?,
            shm_size: self.shm_size,
            limits: self.limits.iter().map(|word| limit(word)).collect::<Result<_, _>>()?,
            no_cache: self.no_cache,
            pull: self.pull,
            entitlements: self.entitlements.into_iter().map(entitlement).collect::<Result<_, _>>()?,
            cache_from: self.cache_from,
            cache_to: self.cache_to,
            quiet: self.quiet,
            push: self.push || self.outputs.contains(&Output::Registry),
            check: self.check,
        })
    }
}

/// What an image is given to beside the store.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Output {
    /// An archive.
    File(PathBuf, Form),
    /// The registry of its name.
    Registry,
    /// The store alone.
    Store,
}

impl std::str::FromStr for Output {
    type Err = String;

    /// Reads `type=KIND[,dest=FILE][,push=true]`, in any order.
    fn from_str(text: &str) -> Result<Output, String> {
        let (mut kind, mut file, mut push) = ("", None, None);
        for word in text.split(',') {
            match word.split_once('=') {
                Some(("type", value)) => kind = value,
                Some(("dest", value)) => file = Some(value).filter(|value| !value.is_empty()),
                Some(("push", value)) => {
                    push = Some(value.parse::<bool>().map_err(|_| "`push` is `true` or `false`".to_owned())?);
                }
                Some((key, _)) => {
                    return Err(format!("`{key}` is not known: there are `type`, `dest` and `push`"));
                }
                None => return Err(FILES_ALONE.to_owned()),
            }
        }
        let form = match kind {
            "docker" | "oci" if push.is_some() => return Err("`push` is for `type=image`".to_owned()),
            "docker" => Form::Docker,
            "oci" => Form::Oci,
            "image" | "registry" if file.is_some() => {
                return Err(format!("`dest` is for archives: `type={kind}` writes no file"));
            }
            "registry" if push == Some(false) => return Err("`type=registry` is a push".to_owned()),
            "registry" => return Ok(Output::Registry),
            "image" if push == Some(true) => return Ok(Output::Registry),
            "image" => return Ok(Output::Store),
            "local" | "tar" => return Err(FILES_ALONE.to_owned()),
            "" => return Err("it has no `type`".to_owned()),
            other => {
                return Err(format!(
                    "`type={other}` is not known: there are docker, oci, image and registry"
                ));
            }
        };
        match (file, form) {
            (None, Form::Docker) => Ok(Output::Store),
            (None, _) => Err("it has no `dest`".to_owned()),
            (Some("-"), _) => {
                Err("an archive goes to a file here; `rcompose image save` writes to standard output"
                    .to_owned())
            }
            (Some(file), form) => Ok(Output::File(PathBuf::from(file), form)),
        }
    }
}

const FILES_ALONE: &str = "the files of an image alone are not written; build it with a name, `rcompose create` a service of it, and \
                           `rcompose export` that";

impl Output {
    fn write(&self, context: &Context, words: &[String], platform: Option<&str>) -> Result<(), Report> {
        match self {
            Output::File(path, form) => {
                store::save(&context.session(), words, platform, &Target::File(path.clone(), *form))
            }
            Output::Registry | Output::Store => Ok(()),
        }
    }
}

/// Writes what `docker buildx build --metadata-file` writes of an image, as far as there is something to say.
fn write_metadata(path: &Path, id: &str, tags: &[String]) -> Result<(), Report> {
    let mut fields = serde_json::json!({ "containerimage.config.digest": id });
    if !tags.is_empty() {
        fields["image.name"] = tags.join(",").into();
    }
    let text = serde_json::to_string_pretty(&fields).unwrap_or_default() + "\n";
    std::fs::write(path, text).map_err(|error| {
        Report::new(Exit::Failure, format!("cannot write `{}`", path.display())).cause(error.to_string())
    })
}

/// Privileges that there are.
const ENTITLEMENTS: [&str; 2] = ["network.host", "security.insecure"];

fn entitlement(word: String) -> Result<String, Report> {
    match ENTITLEMENTS.contains(&word.as_str()) {
        true => Ok(word),
        false => Err(usage(format!(
            "`--allow {word}` is no privilege: there are `network.host` and `security.insecure`"
        ))
        .near(&word, ENTITLEMENTS)),
    }
}

fn pairs(option: &str, words: &[String]) -> Result<BTreeMap<String, String>, Report> {
    let pair = |word: &String| match word.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        None if option == "--label" && !word.is_empty() => Ok((word.clone(), String::new())),
        _ => Err(usage(format!("`{option} {word}` is not NAME=VALUE"))),
    };
    words.iter().map(pair).collect()
}

/// Reads `id=ID[,type=file|env][,src=FILE][,env=VARIABLE]`.
fn secret(word: &str) -> Result<(String, Secret), Report> {
    let wrong = |reason: &str| usage(format!("`--secret {word}`: {reason}"));
    let (mut id, mut kind, mut file, mut variable) = (None, None, None, None);
    for part in word.split(',') {
        match part.split_once('=') {
            Some(("id", value)) => id = Some(value),
            Some(("type", value)) => kind = Some(value),
            Some(("src" | "source", value)) => file = Some(value),
            Some(("env", value)) => variable = Some(value),
            _ => return Err(wrong(&format!("`{part}` is not `id=`, `type=`, `src=` or `env=`"))),
        }
    }
    let id = id.or(file).filter(|id| !id.is_empty()).ok_or_else(|| wrong("it has no `id`"))?;
    // Without a word on it, a variable of that name is meant, and else the file.
    let variable = match (kind, variable, file) {
        (Some("env"), variable, file) => Some(variable.or(file).unwrap_or(id)),
        (Some("file"), ..) | (None, None, Some(_)) => None,
        (None, Some(variable), _) => Some(variable),
        (None, None, None) => std::env::var_os(id).map(|_| id),
        (Some(other), ..) => return Err(wrong(&format!("`type={other}` is neither `file` nor `env`"))),
    };
    let secret = match variable {
        Some(name) => match std::env::var_os(name) {
            Some(value) => Secret::Value(value.into_encoded_bytes()),
            None => return Err(wrong(&format!("the variable {name} is not set"))),
        },
        None => {
            let path = std::path::absolute(file.unwrap_or(id)).map_err(|error| wrong(&error.to_string()))?;
            if !path.exists() {
                return Err(wrong(&format!("there is no file `{}`", path.display())));
            }
            Secret::File(path)
        }
    };
    Ok((id.to_owned(), secret))
}

/// Reads `NAME:ADDRESS` or `NAME=ADDRESS`; an address of IPv6 may stand in brackets.
fn host(word: &str) -> Result<(String, Vec<String>), Report> {
    let split = word.split_once('=').or_else(|| word.split_once(':'));
    match split {
        Some((name, address)) if !name.is_empty() && !address.is_empty() => {
            let address = address.trim_start_matches('[').trim_end_matches(']');
            Ok((address.to_owned(), vec![name.to_owned()]))
        }
        _ => Err(usage(format!("`--add-host {word}` is not NAME:ADDRESS"))),
    }
}

/// Reads `NAME=SOFT[:HARD]`; -1 is no limit.
fn limit(word: &str) -> Result<(String, u64, u64), Report> {
    let wrong = || usage(format!("`--ulimit {word}` is not NAME=SOFT[:HARD]"));
    let (name, values) = word.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(wrong)?;
    if !LIMITS.contains(&name) {
        return Err(usage(format!("`--ulimit {word}`: there is no limit `{name}`")).near(name, LIMITS));
    }
    let (soft, hard) = values.split_once(':').unwrap_or((values, values));
    let number = |text: &str| match text.parse::<i64>() {
        Ok(number) => Ok(u64::try_from(number).unwrap_or(u64::MAX)),
        Err(_) => Err(wrong()),
    };
    let (soft, hard) = (number(soft)?, number(hard)?);
    if soft > hard {
        return Err(usage(format!("`--ulimit {word}`: the soft limit is above the hard one")));
    }
    Ok((name.to_owned(), soft, hard))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_docker_reads_them() {
        assert_eq!(host("a:1.2.3.4").ok(), Some(("1.2.3.4".to_owned(), vec!["a".to_owned()])));
        assert_eq!(host("a=[::1]").ok(), Some(("::1".to_owned(), vec!["a".to_owned()])));
        assert!(host("a").is_err() && host(":1").is_err());
        assert_eq!(limit("nofile=10:20").ok(), Some(("nofile".to_owned(), 10, 20)));
        assert_eq!(limit("core=-1").ok(), Some(("core".to_owned(), u64::MAX, u64::MAX)));
        assert!(limit("nofile=20:10").is_err() && limit("x").is_err());
        assert_eq!(limit("nofil=1").expect_err("none").hints, ["did you mean `nofile`?"]);
        assert_eq!(
            entitlement("network.hots".to_owned()).expect_err("none").hints,
            ["did you mean `network.host`?"]
        );
        assert!(pairs("--label", &["a".to_owned()]).is_ok());
        assert!(pairs("--build-context", &["a".to_owned()]).is_err());
    }

    #[test]
    fn flags_of_scripts_are_taken() {
        use clap::{Args as _, FromArgMatches as _};
        let read = |words: &str| {
            let command = Args::augment_args(clap::Command::new("build"));
            let matches = command.try_get_matches_from(format!("build {words}").split(' '))?;
            Args::from_arg_matches(&matches)
        };
        let args =
            read("--load --rm --force-rm=false --pull --pull -t a -t b -q --quiet --provenance=false .");
        let args = args.expect("all are known");
        assert_eq!(args.tags, ["a", "b"], "what may be given often is not given once");
        assert!(args.pull && args.quiet);
        let args =
            read("-o type=oci,dest=f --output type=docker -o type=image,push=true -m 1g --sbom=true .");
        let args = args.expect("all are known");
        let file = Output::File(PathBuf::from("f"), Form::Oci);
        assert_eq!(args.outputs, [file, Output::Store, Output::Registry]);
        assert_eq!(args.unhonoured.memory, Some(1 << 30));
        assert_eq!("push=true,type=image".parse(), Ok(Output::Registry));
        assert_eq!("type=image,push=false".parse(), Ok(Output::Store));
        for wrong in [
            "out",
            "type=local,dest=d",
            "type=oci",
            "type=docker,colour=red",
            "type=gif,dest=f",
            "type=registry,dest=f",
            "dest=f,type=image",
            "type=oci,dest=f,push=true",
            "type=image,push=yes",
            "push=true",
        ] {
            assert!(read(&format!("-o {wrong} .")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_secret_is_a_file_or_a_variable() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        let path = file.path().to_str().expect("text");
        let (id, found) = secret(&format!("id=x,src={path}")).expect("read");
        assert_eq!((id.as_str(), found), ("x", Secret::File(file.path().to_owned())));
        // Cargo sets it.
        let (_, found) = secret("id=x,env=CARGO_MANIFEST_DIR").expect("read");
        assert!(matches!(found, Secret::Value(value) if !value.is_empty()));
        for wrong in ["src=", "id=x,src=/no/such/file", "id=x,env=NO_SUCH_VARIABLE_", "id=x,type=y", "x"] {
            assert!(secret(wrong).is_err(), "{wrong}");
        }
    }
}
