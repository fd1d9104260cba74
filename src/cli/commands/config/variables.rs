//! `config --variables`: the variables that the files name.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::Format;
use crate::compose::{self, Variable};
use crate::report::Report;
use crate::ui::table::{Spacing, Table};

/// Returns them as a table, or as a mapping in the words of the reference.
pub fn text(variables: &BTreeMap<String, Variable>, format: Format) -> Result<String, Report> {
    let words = match format {
        Format::Table => {
            let mut table = Table::new(["NAME", "REQUIRED", "DEFAULT VALUE", "ALTERNATE VALUE"]);
            for (name, variable) in variables {
                let required = variable.required.to_string();
                table.row([name.clone(), required, variable.default.clone(), variable.alternate.clone()]);
            }
            return Ok(table.render(Spacing::LISTS));
        }
        Format::Json => ["Name", "DefaultValue", "PresenceValue", "Required"],
        Format::Yaml => ["name", "defaultvalue", "presencevalue", "required"],
    };
    let entry = |(name, variable): (&String, &Variable)| {
        let values =
            [json!(name), json!(variable.default), json!(variable.alternate), json!(variable.required)];
        let fields: Map<String, Value> = words.map(str::to_owned).into_iter().zip(values).collect();
        (name.clone(), Value::Object(fields))
    };
    let tree = Value::Object(variables.iter().map(entry).collect());
    Ok(match format {
        Format::Json => compose::render::tree_json(&tree)?,
        _ => compose::render::tree_yaml(&tree)?,
    })
}
