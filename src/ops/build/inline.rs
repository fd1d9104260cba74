//! `build.dockerfile_inline`: a Dockerfile that is a block of the Compose file, and where its lines stand there.

use crate::build::dockerfile::Within;
use crate::build::order::Dockerfile;
use crate::ops::project::Project;

/// The Dockerfile of a service. Where its lines cannot be found in the file, what they are called names the service.
pub fn dockerfile(project: &Project, service: &str, text: &str) -> Dockerfile {
    let name = format!("services.{service}.build.dockerfile_inline");
    let within = project
        .places
        .find(&name)
        .and_then(|place| within(&place.file, project.places.text(&name)?, place.line, text));
    Dockerfile::Text { name, text: text.as_bytes().to_vec(), within }
}

/// Finds the block: all lines of the text, at or below a line of the file, each behind the same spaces (YAML 1.2, 8.1.2).
/// A dollar sign may be written as two there.
fn within(file: &str, whole: &str, line: u32, text: &str) -> Option<Within> {
    let wanted: Vec<&str> = text.trim_end_matches('\n').split('\n').collect();
    let lines: Vec<&str> = whole.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line)).collect();
    let from = usize::try_from(line).ok()?.saturating_sub(1);
    // The key's own line, and comments or the header of the block before the first line.
    (from..lines.len().min(from + 3)).find_map(|above| {
        let block = lines.get(above..above + wanted.len())?;
        let full = wanted.iter().position(|line| !line.trim().is_empty())?;
        let indent = block[full].len().checked_sub(block[full].trim_start_matches(' ').len())?;
        let indent = indent.checked_sub(wanted[full].len() - wanted[full].trim_start_matches(' ').len())?;
        let is_same = |(written, wanted): (&&str, &&str)| {
            let written = match written.get(indent..) {
                Some(rest) if written[..indent].bytes().all(|byte| byte == b' ') => rest,
                _ => written.trim_start_matches(' '),
            };
            written == *wanted || written.replace("$$", "$") == **wanted
        };
        block.iter().zip(&wanted).all(is_same).then(|| Within {
            file: file.to_owned(),
            above: u32::try_from(above).unwrap_or_default(),
            indent: u32::try_from(indent).unwrap_or_default(),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_block_are_found_in_their_file() {
        let find = |whole: &str, line: u32, text: &str| {
            within("c.yaml", whole, line, text).map(|found| (found.above, found.indent))
        };
        let block =
            "build:\n  dockerfile_inline: |\n    FROM a\n\n    RUN echo $$x \\\n      y\n  args: {}\n";
        let text = "FROM a\n\nRUN echo $x \\\n  y\n";
        for line in [2, 3] {
            assert_eq!(find(block, line, text), Some((2, 4)), "{line}");
        }
        assert_eq!(find(block, 2, "FROM b\n"), None);
        // A text in quotes has its lines elsewhere, and one that was interpolated has others.
        assert_eq!(find("dockerfile_inline: \"FROM a\\nRUN x\\n\"\n", 1, "FROM a\nRUN x\n"), None);
        assert_eq!(find("dockerfile_inline: |\n  FROM ${BASE}\n", 1, "FROM a\n"), None);
        assert_eq!(find("dockerfile_inline: |\r\n  FROM a\r\n", 1, "FROM a\n"), Some((1, 2)));
    }
}
