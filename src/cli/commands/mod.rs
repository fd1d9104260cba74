//! The table of commands: one file each, with its options and what it prints.

pub mod attach;
pub mod build;
pub mod builder;
pub mod commit;
pub mod completion;
pub mod config;
pub mod cp;
pub mod create;
pub mod doctor;
pub mod down;
pub mod events;
pub mod exec;
pub mod export;
pub mod hidden;
pub mod image;
pub mod images;
pub mod kill;
pub mod load;
pub mod lock;
pub mod login;
pub mod logs;
pub mod ls;
pub mod pause;
pub mod port;
pub mod ps;
pub mod pull;
pub mod push;
pub mod restart;
pub mod rm;
pub mod rmi;
pub mod run;
pub mod scale;
pub mod start;
pub mod stats;
pub mod stop;
pub mod system;
pub mod top;
pub mod up;
pub mod version;
pub mod volume;
pub mod volumes;
pub mod wait;

use super::context::Context;
use crate::report::{Exit, Report};

/// Every command.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Create and start containers
    Up(up::Args),
    /// Stop and remove containers and networks
    Down(down::Args),
    /// List containers
    Ps(ps::Args),
    /// Show the output of containers
    Logs(logs::Args),
    /// Run a command in a running container
    Exec(exec::Args),
    /// Join the input and output of a running container
    Attach(attach::Args),
    /// Copy files between this machine and containers
    Cp(cp::Args),
    /// Run a one-off command in a new container of a service
    Run(run::Args),
    /// Start containers that exist
    Start(start::Args),
    /// Stop containers
    Stop(stop::Args),
    /// Stop and start containers
    Restart(restart::Args),
    /// Send a signal to containers
    Kill(kill::Args),
    /// Remove stopped containers
    Rm(rm::Args),
    /// Create containers without starting them
    Create(create::Args),
    /// Set how many containers services have
    Scale(scale::Args),
    /// Freeze containers
    Pause(pause::PauseArgs),
    /// Let frozen containers go on
    Unpause(pause::UnpauseArgs),
    /// Wait until containers end
    Wait(wait::Args),
    /// List projects
    Ls(ls::Args),
    /// Print the address that a port of a service is published at
    Port(port::Args),
    /// List the processes in containers
    Top(top::Args),
    /// Print what containers use of processors, memory, network and disks
    Stats(stats::Args),
    /// Print what happens to containers, as it happens
    Events(events::Args),
    /// List the volumes of the project
    Volumes(volumes::Args),
    /// Work with the volumes of all projects
    Volume(volume::Args),
    /// Print the project as it is understood
    #[command(alias = "convert")]
    Config(config::Args),
    /// Build the images of services
    Build(build::Args),
    /// Look after the cache of builds
    Builder(builder::Args),
    /// Fetch the images of services
    Pull(pull::Args),
    /// Send the images of services to registries
    Push(push::Args),
    /// Write into `compose.lock` which content each image name stands for, for `up --locked`
    ///
    /// Images of services and those that services are built on. What the `ONBUILD` instructions of a base copy from is
    /// known only where that base is here.
    Lock(lock::Args),
    /// Make an image of a container
    Commit(commit::Args),
    /// Write the files of a container to an archive
    Export(export::Args),
    /// Log in to a registry
    Login(login::LoginArgs),
    /// Log out of a registry
    Logout(login::LogoutArgs),
    /// List the images that the containers use
    Images(images::Args),
    /// Work with the images of the store
    Image(image::Args),
    /// Take images out of an archive into the store
    Load(load::Args),
    /// Write images to an archive
    Save(image::save::Args),
    /// Remove images from the store
    Rmi(rmi::Args),
    /// Look after what all this takes of the disk
    System(system::Args),
    /// Say what this machine offers, and how to mend what it lacks
    Doctor(doctor::Args),
    /// Print the version
    Version(version::Args),
    /// Print a script that completes command lines in a shell
    Completion(completion::Args),
}

impl Command {
    /// The name by which others are told who asks.
    pub fn name(&self) -> &'static str {
        match self {
            Command::Up(_) => "up",
            Command::Down(_) => "down",
            Command::Ps(_) => "ps",
            Command::Logs(_) => "logs",
            Command::Exec(_) => "exec",
            Command::Attach(_) => "attach",
            Command::Cp(_) => "cp",
            Command::Run(_) => "run",
            Command::Start(_) => "start",
            Command::Stop(_) => "stop",
            Command::Restart(_) => "restart",
            Command::Kill(_) => "kill",
            Command::Rm(_) => "rm",
            Command::Create(_) => "create",
            Command::Scale(_) => "scale",
            Command::Pause(_) => "pause",
            Command::Unpause(_) => "unpause",
            Command::Wait(_) => "wait",
            Command::Ls(_) => "ls",
            Command::Port(_) => "port",
            Command::Top(_) => "top",
            Command::Stats(_) => "stats",
            Command::Events(_) => "events",
            Command::Volumes(_) => "volumes",
            Command::Volume(_) => "volume",
            Command::Config(_) => "config",
            Command::Build(_) => "build",
            Command::Builder(_) => "builder",
            Command::Pull(_) => "pull",
            Command::Push(_) => "push",
            Command::Lock(_) => "lock",
            Command::Commit(_) => "commit",
            Command::Export(_) => "export",
            Command::Login(_) => "login",
            Command::Logout(_) => "logout",
            Command::Images(_) => "images",
            Command::Image(_) => "image",
            Command::Load(_) => "load",
            Command::Save(_) => "save",
            Command::Rmi(_) => "rmi",
            Command::System(_) => "system",
            Command::Doctor(_) => "doctor",
            Command::Version(_) => "version",
            Command::Completion(_) => "completion",
        }
    }

    /// Does what was asked.
    pub fn run(self, context: &Context) -> Result<Exit, Report> {
        self.check_dry_run(context)?;
        match self {
            Command::Up(args) => args.run(context),
            Command::Down(args) => args.run(context),
            Command::Ps(args) => args.run(context),
            Command::Logs(args) => args.run(context),
            Command::Exec(args) => args.run(context),
            Command::Attach(args) => args.run(context),
            Command::Cp(args) => args.run(context),
            Command::Run(args) => args.run(context),
            Command::Start(args) => args.run(context),
            Command::Stop(args) => args.run(context),
            Command::Restart(args) => args.run(context),
            Command::Kill(args) => args.run(context),
            Command::Rm(args) => args.run(context),
            Command::Create(args) => args.run(context),
            Command::Scale(args) => args.run(context),
            Command::Pause(args) => args.run(context),
            Command::Unpause(args) => args.run(context),
            Command::Wait(args) => args.run(context),
            Command::Ls(args) => args.run(context),
            Command::Port(args) => args.run(context),
            Command::Top(args) => args.run(context),
            Command::Stats(args) => args.run(context),
            Command::Events(args) => args.run(context),
            Command::Volumes(args) => args.run(context),
            Command::Volume(args) => args.run(context),
            Command::Config(args) => args.run(context),
            Command::Build(args) => args.run(context),
            Command::Builder(args) => args.run(context),
            Command::Pull(args) => args.run(context),
            Command::Push(args) => args.run(context),
            Command::Lock(args) => args.run(context),
            Command::Commit(args) => args.run(context),
            Command::Export(args) => args.run(context),
            Command::Login(args) => args.run(context),
            Command::Logout(args) => args.run(context),
            Command::Images(args) => args.run(context),
            Command::Image(args) => args.run(context),
            Command::Load(args) => args.run(context),
            Command::Save(args) => args.run(context),
            Command::Rmi(args) => args.run(context),
            Command::System(args) => args.run(context),
            Command::Doctor(args) => args.run(context),
            Command::Version(args) => args.run(context),
            Command::Completion(args) => args.run(context),
        }
    }

    /// Refuses `--dry-run` where it could not be kept: what does one thing at once has nothing to say before. Commands of
    /// several parts (`image`, `volume`, `system`, `builder`) do so themselves.
    fn check_dry_run(&self, context: &Context) -> Result<(), Report> {
        match self {
            Command::Kill(_)
            | Command::Pause(_)
            | Command::Unpause(_)
            | Command::Exec(_)
            | Command::Attach(_)
            | Command::Commit(_)
            | Command::Export(_)
            | Command::Login(_)
            | Command::Logout(_)
            | Command::Load(_)
            | Command::Save(_)
            | Command::Rmi(_) => context.in_earnest(self.name()),
            _ => Ok(()),
        }
    }
}
