//! The CustomResourceDefinitions as the API server gets them.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;

use crate::{Cluster, Rebalance, Topic};

/// The definitions of all kinds.
#[must_use]
pub fn definitions() -> Vec<CustomResourceDefinition> {
    [Cluster::crd(), Topic::crd(), Rebalance::crd()]
        .map(without_nullable)
        .into()
}

/// File name under `crds/` and YAML of each definition.
///
/// # Errors
/// When a definition cannot be written as YAML.
pub fn rendered() -> Result<Vec<(String, String)>, serde_yaml::Error> {
    let file = |definition: CustomResourceDefinition| {
        let name = format!(
            "{}.yaml",
            definition.metadata.name.as_deref().unwrap_or_default()
        );
        Ok((name, serde_yaml::to_string(&definition)?))
    };
    definitions().into_iter().map(file).collect()
}

/// Every optional field comes out of the derive as `nullable`. The API server would then store a
/// `null`, for which CEL's `has()` holds; without it, the API server drops a `null` and sees an absent
/// field, so that the rules have one case and not two.
fn without_nullable(mut definition: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut definition.spec.versions {
        let schema = version
            .schema
            .as_mut()
            .and_then(|schema| schema.open_api_v3_schema.as_mut());
        if let Some(schema) = schema {
            drop_nullable(schema);
        }
    }
    definition
}

fn drop_nullable(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    schema
        .properties
        .iter_mut()
        .flat_map(|properties| properties.values_mut())
        .for_each(drop_nullable);
    match &mut schema.items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => drop_nullable(items),
        Some(JSONSchemaPropsOrArray::Schemas(items)) => items.iter_mut().for_each(drop_nullable),
        None => {}
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        drop_nullable(values);
    }
}
