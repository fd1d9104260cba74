//! A build on a terminal: what stands there at the end is how it ended.

use super::super::support::{Capability, Project, Terminal, needs};
use super::{ONE, with_programs};

/// The last frame: what follows the last head.
fn last_frame(text: &str) -> String {
    let at = text.rfind("[+] Building").unwrap_or_else(|| panic!("nothing was drawn: {text}"));
    text[at..].to_owned()
}

#[test]
fn the_last_frame_shows_how_it_ended() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new("last-frame", "services: {app: {image: 't-frame:1', build: {context: .}}}\n");
    project.write("Dockerfile", "FROM scratch\nCOPY a /a\nCOPY a /b\nCOPY a /c\n");
    project.write("a", "x\n");
    // A frame that was still due came by chance before.
    for arguments in [&["image", "build", "--no-cache", "-t", "t-frame:2", "."][..], &["build", "--no-cache"]]
    {
        for _ in 0..4 {
            let (code, text) = Terminal::start(&project, arguments).end();
            assert_eq!(code, Some(0), "{text}");
            let frame = last_frame(&text);
            assert!(frame.contains("(5/5)") && frame.contains("exporting to image"), "{frame:?}");
        }
    }
}

#[test]
fn what_a_failure_or_ctrl_c_has_cut_short_is_marked() {
    let steps = "RUN echo begun; while :; do sleep 1; done\n";
    let files = [("Dockerfile", steps), ("Bad", "RUN exit 3\n")];
    let Some(project) = with_programs("frame-cut", ONE, &files) else { return };
    let mut terminal = Terminal::start(&project, &["build"]);
    terminal.shows("=> => # begun");
    terminal.types("\x03");
    let (code, text) = terminal.end();
    assert_ne!(code, Some(0));
    assert!(last_frame(&text).contains("=> CANCELED"), "{text:?}");
    let (code, text) = Terminal::start(&project, &["image", "build", "-f", "Bad", "."]).end();
    assert_eq!(code, Some(17), "{text}");
    assert!(last_frame(&text).contains("=> ERROR"), "{text:?}");
}
