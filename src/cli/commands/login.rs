//! `rcompose login` and `rcompose logout`

use std::io::Read as _;

use super::super::context::{Context, usage};
use crate::ops::{Ears as _, registry};
use crate::report::{Exit, Report};
use crate::ui::console;

/// Where registries are told of, for the help of all that talk to them.
pub const REGISTRIES: &str = "\
Registries:
  ~/.docker/config.json (or DOCKER_CONFIG): passwords, or the helpers that keep them
  ~/.config/containers/registries.conf, /etc/containers/…: mirrors, plain HTTP, what is blocked
  ~/.config/containers/certs.d/HOST[:PORT]/: *.crt whom we trust, *.cert and *.key who we are
  HTTPS_PROXY, HTTP_PROXY, ALL_PROXY (http://, socks5h://), NO_PROXY; SSL_CERT_FILE";

/// Options of `login`.
#[derive(Debug, clap::Args)]
#[command(after_help = REGISTRIES)]
pub struct LoginArgs {
    /// The registry; Docker Hub when none is named
    #[arg(value_name = "REGISTRY")]
    pub server: Option<String>,
    /// The user's name
    #[arg(short, long, value_name = "NAME")]
    pub username: Option<String>,
    /// The password or token; others can read it in the list of processes
    #[arg(short, long, value_name = "PASSWORD", conflicts_with = "password_stdin")]
    pub password: Option<String>,
    /// Read the password from standard input
    #[arg(long)]
    pub password_stdin: bool,
}

/// Options of `logout`.
#[derive(Debug, clap::Args)]
pub struct LogoutArgs {
    /// The registry; Docker Hub when none is named
    #[arg(value_name = "REGISTRY")]
    pub server: Option<String>,
}

impl LoginArgs {
    /// Asks the registry, and keeps what it takes.
    pub fn run(self, context: &Context) -> Result<Exit, Report> {
        let server = self.server.as_deref();
        let failed = |error: std::io::Error| Report::from_error(Exit::Failure, &error);
        if self.password.is_some() {
            context.warning("`--password` shows the password to everybody here; `--password-stdin` does not");
        }
        let user = match self.username {
            Some(user) => user,
            None if self.password_stdin => return Err(usage("`--password-stdin` wants `--username`")),
            None if console::stdin_is_terminal() => {
                let known = registry::known_user(server)?;
                let shown = known.as_deref().map(|known| format!(" ({known})")).unwrap_or_default();
                let typed = console::ask(&format!("Username{shown}: ")).map_err(failed)?;
                if typed.is_empty() { known.unwrap_or_default() } else { typed }
            }
            None => return Err(no_terminal()),
        };
        if user.is_empty() {
            return Err(usage("a user is needed"));
        }
        let password = match self.password {
            Some(password) => password,
            None if self.password_stdin => {
                let mut text = String::new();
                std::io::stdin().read_to_string(&mut text).map_err(failed)?;
                text.trim_end_matches(['\n', '\r']).to_owned()
            }
            None if console::stdin_is_terminal() => console::ask_secret("Password: ").map_err(failed)?,
            None => return Err(no_terminal()),
        };
        if password.is_empty() {
            return Err(usage("a password is needed"));
        }
        let done = registry::log_in(server, &user, &password)?;
        if let Some(file) = done.file {
            context.warning(&format!(
                "the password is in `{}`, encoded but not encrypted; a credential helper would keep it safe",
                file.display()
            ));
        }
        console::out_line("Login Succeeded");
        Ok(Exit::Success)
    }
}

fn no_terminal() -> Report {
    usage("cannot ask for user and password: standard input is no terminal")
        .hint("`rcompose login -u NAME --password-stdin REGISTRY`")
}

impl LogoutArgs {
    /// Forgets it.
    pub fn run(self, _: &Context) -> Result<Exit, Report> {
        let server = self.server.as_deref();
        let host = registry::host(server);
        match registry::log_out(server)? {
            true => console::out_line(&format!("Removed login credentials for {host}")),
            false => console::out_line(&format!("Not logged in to {host}")),
        }
        Ok(Exit::Success)
    }
}
