//! The step of a build that made a layer, as a config's history tells it.

use super::json::{self, object};

object!(last
    struct ConfigFields {
        history: Vec<HistoryStep> = "history",
    }
);
object!(last
    struct StepFields {
        created_by: String = "created_by",
        empty_layer: bool = "empty_layer",
    }
);

/// An entry of the history.
#[derive(Debug, Clone)]
pub(super) struct HistoryStep {
    text: Option<String>,
    has_layer: bool,
}

impl<'de> serde::Deserialize<'de> for HistoryStep {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fields = StepFields::deserialize(deserializer)?;
        let has_layer = fields.empty_layer.value() != Some(true);
        // A step that made no layer is never shown.
        let text = fields.created_by.value().filter(|text| has_layer && !text.is_empty());
        Ok(Self { text, has_layer })
    }
}

/// What made each layer, base first, where the history says it. It is for people: a config that cannot be read, or that
/// has another number of layers, has no steps.
pub(crate) fn steps(config: &[u8], layers: usize) -> Vec<Option<String>> {
    let fields: Result<ConfigFields, _> = json::whole("config", config);
    let history = fields.ok().and_then(|fields| fields.history.value()).unwrap_or_default();
    let steps: Vec<Option<String>> = history.into_iter().filter(|step| step.has_layer).map(|step| step.text).collect();
    if steps.len() == layers { steps } else { vec![None; layers] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_without_a_layer_are_passed_over() {
        let config = br#"{"history":[{"created_by":"ADD rootfs"},{"created_by":"ENV A=b","empty_layer":true},
            {"comment":"x"},{"created_by":"RUN make"}]}"#;
        let expected = [Some("ADD rootfs".to_owned()), None, Some("RUN make".to_owned())];
        assert_eq!(steps(config, 3), expected);
        // If a history has another number of steps than there are layers, no step is told for any layer.
        assert_eq!(steps(config, 2), [None, None]);
        assert_eq!(steps(b"{}", 1), [None]);
        assert_eq!(steps(br#"{"history":[7]}"#, 1), [None]);
    }
}
