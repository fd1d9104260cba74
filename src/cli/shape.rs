//! How a list is printed: as a table, as JSON, or by a template.

use std::str::FromStr;

use serde_json::Value;

use super::context::usage;
use crate::report::Report;
use crate::ui::table::{Spacing, Table};
use crate::ui::template::Template;
use crate::ui::{console, value};

/// `--format`, of the commands that print a list.
#[derive(Clone, Debug, clap::Args)]
pub struct Form {
    /// Print it in this form: `table`, `json`, a template, or `table` and a template
    #[arg(long, default_value = "table", value_name = "FORMAT", hide_default_value = true)]
    pub format: Shape,
}

/// What `--format` says.
#[derive(Clone, Debug)]
pub enum Shape {
    /// Columns.
    Table,
    /// JSON.
    Json,
    /// A template of Go, or `table` and one.
    Template(String),
}

/// How several objects stand in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Json {
    /// One a line, as docker prints them.
    Lines,
    /// In one list, as docker compose does.
    List,
}

/// A list: its rows, and which of their fields are columns of a table.
pub struct List<'a> {
    /// Objects with the fields that templates know.
    pub rows: Vec<Value>,
    /// Title and field of each column.
    pub columns: &'a [(&'a str, &'a str)],
    /// Between columns.
    pub spacing: Spacing,
    /// In JSON.
    pub json: Json,
}

impl FromStr for Shape {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Shape, Self::Err> {
        Ok(match text {
            // `pretty` is docker compose's older word.
            "" | "pretty" | "table" => Shape::Table,
            "json" => Shape::Json,
            template => Shape::Template(template.to_owned()),
        })
    }
}

impl Shape {
    /// Prints a list.
    pub fn print(&self, list: &List<'_>) -> Result<(), Report> {
        let text = match self {
            Shape::Table => list.table(),
            Shape::Json if list.json == Json::Lines => {
                list.rows.iter().map(|row| format!("{row}\n")).collect()
            }
            Shape::Json => format!("{}\n", Value::from(list.rows.clone())),
            Shape::Template(text) => {
                let template = Template::parse(text).map_err(|error| usage(error.to_string()))?;
                let title = |field: &str| list.title(field);
                template.render(&list.rows, title).map_err(|error| usage(error.to_string()))?
            }
        };
        console::out(&text);
        Ok(())
    }
}

/// Prints what an `inspect` has found: indented JSON, JSON in a line, or by a template.
pub fn print_found(found: Vec<Value>, format: Option<&str>) -> Result<(), Report> {
    match format {
        None | Some("") => console::out_line(&value::indented(&Value::from(found))),
        Some("json") => console::out_line(&Value::from(found).to_string()),
        Some(text) => {
            let template = Template::parse(text).map_err(|error| usage(error.to_string()))?;
            let text = template.render(&found, str::to_uppercase);
            console::out(&text.map_err(|error| usage(error.to_string()))?);
        }
    }
    Ok(())
}

impl List<'_> {
    fn table(&self) -> String {
        let mut table = Table::new(self.columns.iter().map(|(title, _)| *title));
        for row in &self.rows {
            table.row(self.columns.iter().map(|(_, field)| match &row[*field] {
                Value::String(text) => text.clone(),
                Value::Null => String::new(),
                other => other.to_string(),
            }));
        }
        table.render(self.spacing)
    }

    /// The title of a field: that of its column, else its words in capitals.
    fn title(&self, field: &str) -> String {
        match self.columns.iter().find(|(_, known)| *known == field) {
            Some((title, _)) => (*title).to_owned(),
            None => capitals(field),
        }
    }
}

/// `CreatedAt` → `CREATED AT`, `ImageID` → `IMAGE ID`.
fn capitals(field: &str) -> String {
    let mut title = String::new();
    let mut before = ' ';
    for character in field.chars() {
        if character.is_uppercase() && before.is_lowercase() {
            title.push(' ');
        }
        title.extend(character.to_uppercase());
        before = character;
    }
    title
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_words_for_a_table_mean_one() {
        for word in ["", "table", "pretty"] {
            assert!(matches!(word.parse(), Ok(Shape::Table)), "{word}");
        }
    }

    #[test]
    fn a_field_without_a_column_is_called_by_its_words() {
        for (field, title) in [("CreatedAt", "CREATED AT"), ("ID", "ID"), ("ImageID", "IMAGE ID")] {
            assert_eq!(capitals(field), title);
        }
    }
}
