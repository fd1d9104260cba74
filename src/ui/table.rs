//! Columns as Docker prints them: left-aligned, three spaces between, a least width.

use unicode_width::UnicodeWidthStr;

use super::printable;

/// How columns are spaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spacing {
    /// Least width of a column with its padding.
    pub least: usize,
    /// Spaces after the longest cell.
    pub padding: usize,
}

impl Spacing {
    /// That of `ps`, `stats` and templates.
    pub const CONTAINERS: Spacing = Spacing { least: 10, padding: 3 };
    /// That of `ls` and `images`.
    pub const LISTS: Spacing = Spacing { least: 20, padding: 3 };
    /// That of `top`.
    pub const PROCESSES: Spacing = Spacing { least: 4, padding: 2 };
}

/// Rows below a header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Makes a table with a header and no rows.
    pub fn new<T: Into<String>>(header: impl IntoIterator<Item = T>) -> Table {
        Table { rows: vec![header.into_iter().map(Into::into).collect()] }
    }

    /// Adds a row; it may be shorter or longer than the header. Control characters in a cell are made visible.
    pub fn row<T: Into<String>>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.rows.push(cells.into_iter().map(|cell| printable::cell(&cell.into()).into_owned()).collect());
    }

    /// Returns the lines, each with its end. The last cell of a row is not padded.
    pub fn render(&self, spacing: Spacing) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns)
            .map(|column| {
                let longest =
                    self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.width()).max();
                (longest.unwrap_or(0) + spacing.padding).max(spacing.least)
            })
            .collect();
        let mut text = String::new();
        for row in &self.rows {
            let start = text.len();
            for (column, cell) in row.iter().enumerate() {
                text.push_str(cell);
                text.extend(std::iter::repeat_n(' ', widths[column].saturating_sub(cell.width())));
            }
            text.truncate(start + text[start..].trim_end().len());
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_longest_cell_and_never_narrower_than_the_least() {
        let mut table = Table::new(["NAME", "IMAGE", "PORTS"]);
        table.row(["p-web-with-a-long-name-1", "b", "80"]);
        table.row(["漢", "b", ""]);
        assert_eq!(
            table.render(Spacing::CONTAINERS),
            "NAME                       IMAGE     PORTS\n\
             p-web-with-a-long-name-1   b         80\n\
             漢                         b\n"
        );
        assert_eq!(
            Table::new(["NAME", "STATUS", "CONFIG FILES"]).render(Spacing::LISTS),
            "NAME                STATUS              CONFIG FILES\n"
        );
    }
}
