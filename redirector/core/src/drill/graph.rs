//! The graph model: who is connected to whom, and who has the most connections (seed 000, 4.1.4).
//!
//! Degrees are counted anew over what is left after each removal, so that a second hit does not go to a hub whose spokes are gone.

use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

const EDGES_MAX: usize = 100_000;

/// An undirected graph of servers. An edge that is named twice, or both ways round, counts once; one from a server to itself is
/// none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Graph(BTreeMap<String, BTreeSet<String>>);

/// Why a text is no graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadGraph(String);

impl fmt::Display for BadGraph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, expected {{\"edges\": [[\"web-1\", \"db-1\"], …]}}", self.0)
    }
}

impl std::error::Error for BadGraph {}

impl Graph {
    /// From JSON: `{"edges": [["web-1", "db-1"], …]}`, the names being member ids, roles or instance ids.
    pub fn from_json(text: &str) -> Result<Self, BadGraph> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct File {
            edges: Vec<(String, String)>,
        }
        let file: File = serde_json::from_str(text).map_err(|e| BadGraph(e.to_string()))?;
        if file.edges.len() > EDGES_MAX {
            return Err(BadGraph(format!("{} edges, more than {EDGES_MAX}", file.edges.len())));
        }
        let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (a, b) in file.edges {
            if a == b {
                return Err(BadGraph(format!("{a:?} is connected to itself")));
            }
            graph.entry(a.clone()).or_default().insert(b.clone());
            graph.entry(b).or_default().insert(a);
        }
        Ok(Self(graph))
    }

    /// Connections of each name while those of `removed` are gone, the most first, names in order among equals. Names without any
    /// connection left are not listed.
    pub fn ranking(&self, removed: &BTreeSet<String>) -> Vec<(&str, usize)> {
        let left = self.0.iter().filter(|(name, _)| !removed.contains(*name));
        let mut ranking: Vec<(&str, usize)> =
            left.map(|(name, others)| (name.as_str(), others.iter().filter(|o| !removed.contains(*o)).count())).collect();
        ranking.retain(|(_, degree)| *degree > 0);
        ranking.sort_by(|(a, da), (b, db)| db.cmp(da).then(a.cmp(b)));
        ranking
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_hub_goes_first_and_degrees_are_counted_anew() {
        let text = r#"{"edges":[["lb","web-1"],["lb","web-2"],["lb","web-3"],["web-1","db-1"],["web-2","db-1"],["db-1","db-2"],["web-1","lb"]]}"#;
        let graph = Graph::from_json(text).unwrap();
        let mut removed = BTreeSet::new();
        let mut order = Vec::new();
        while let Some((name, degree)) = graph.ranking(&removed).first().map(|(n, d)| ((*n).to_owned(), *d)) {
            order.push(format!("{name} {degree}"));
            removed.insert(name);
        }
        // By the degrees of the start, web-1 and web-2 would be second: without db-1 they have nobody left.
        assert_eq!(order, ["db-1 3", "lb 3"]);
    }

    #[test]
    fn bad_graphs_are_refused() {
        for text in ["", "{}", "[]", r#"{"edges":[["a"]]}"#, r#"{"edges":[["a","a"]]}"#, r#"{"edges":[],"nodes":[]}"#] {
            assert!(Graph::from_json(text).is_err(), "{text}");
        }
        assert_eq!(Graph::from_json(r#"{"edges":[]}"#).unwrap().ranking(&BTreeSet::new()), []);
    }
}
