//! The results as they are stored: one sample per section, server, size and round. This module does no
//! arithmetic.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

/// A whole run, or several that were merged.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Results {
    /// Where, when and how every section was measured.
    pub sections: BTreeMap<String, Circumstances>,
    /// All samples.
    pub samples: Vec<Sample>,
}

/// How a section was measured.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Circumstances {
    /// The processor, and the number of its cores.
    pub machine: String,
    /// The kernel.
    pub kernel: String,
    /// The day and time, UTC.
    pub date: String,
    /// The commit that was built, or several.
    pub commit: String,
    /// Whether this was a quick run, for trying out and not for quoting.
    pub quick: bool,
    /// The number of rounds.
    pub rounds: u32,
    /// The load average at the start and the end: processes that wanted to run, over a minute.
    pub load: (f64, f64),
}

/// One server's figures in one round.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sample {
    /// The section.
    pub section: String,
    /// The contender's name.
    pub server: String,
    /// The sizes that the section was run with: clients, instances, joins per second.
    pub size: BTreeMap<String, u64>,
    /// The round. Figures of one round were measured shortly after each other.
    pub round: u32,
    /// The figures by name; the name ends in the unit.
    pub figures: BTreeMap<String, f64>,
}

impl Results {
    /// Reads a file. If there is none, there are no results yet.
    ///
    /// # Errors
    /// If the file exists and cannot be parsed.
    pub fn read(path: &Path) -> Result<Self> {
        if !path.exists() {
            return Ok(Self::default());
        }
        let text = fs::read_to_string(path).with_context(|| format!("failed to read {path:?}"))?;
        serde_json::from_str(&text).with_context(|| format!("{path:?} holds no results"))
    }

    /// Writes a file.
    ///
    /// # Errors
    /// If that fails.
    pub fn write(&self, path: &Path) -> Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut lines = Vec::new();
        for sample in &self.samples {
            lines.push(format!("    {}", serde_json::to_string(sample)?));
        }
        let sections = serde_json::to_string_pretty(&self.sections)?.replace('\n', "\n  ");
        let samples = lines.join(",\n");
        let text =
            format!("{{\n  \"sections\": {sections},\n  \"samples\": [\n{samples}\n  ]\n}}\n");
        fs::write(path, text).with_context(|| format!("failed to write {path:?}"))
    }

    /// Replaces the sections that a later run has measured too.
    pub fn merge(&mut self, later: &Self) {
        self.samples.retain(|sample| !later.sections.contains_key(&sample.section));
        self.samples.extend(later.samples.iter().cloned());
        self.sections.extend(later.sections.clone());
    }

    /// Adds the rounds of a later run.
    ///
    /// # Errors
    /// If the runs are not of the same kind and machine.
    pub fn add(&mut self, later: &Self) -> Result<()> {
        for (name, added) in &later.sections {
            let Some(section) = self.sections.get_mut(name) else {
                self.sections.insert(name.clone(), added.clone());
                self.samples.extend(later.of(name).cloned());
                continue;
            };
            let alike = section.machine == added.machine && section.quick == added.quick;
            ensure!(alike, "the rounds of {name} are of another machine, or of a quick run");
            let before = section.rounds;
            let renumber =
                |sample: &Sample| Sample { round: before + sample.round, ..sample.clone() };
            self.samples.extend(later.of(name).map(renumber));
            let mut commits: Vec<_> = section.commit.split(", ").map(str::to_owned).collect();
            if !commits.contains(&added.commit) {
                commits.push(added.commit.clone());
            }
            let rounds = before + added.rounds;
            *section = Circumstances { rounds, commit: commits.join(", "), ..added.clone() };
        }
        Ok(())
    }

    /// The samples of one section.
    pub fn of<'a>(&'a self, section: &'a str) -> impl Iterator<Item = &'a Sample> + Clone {
        self.samples.iter().filter(move |sample| sample.section == section)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(section: &str, value: f64) -> Sample {
        Sample {
            section: section.to_owned(),
            server: "epoll".to_owned(),
            size: BTreeMap::from([("clients".to_owned(), 1000)]),
            round: 0,
            figures: BTreeMap::from([("count_us".to_owned(), value)]),
        }
    }

    fn results(sections: &[&str], value: f64) -> Results {
        Results {
            sections: sections
                .iter()
                .map(|name| ((*name).to_owned(), Circumstances::default()))
                .collect(),
            samples: sections.iter().map(|name| sample(name, value)).collect(),
        }
    }

    /// Goal: a section that is measured again replaces the old one, and no other. Method: merge one of two.
    #[test]
    fn a_section_replaces_itself() {
        let mut all = results(&["idle", "storm"], 1.0);
        all.merge(&results(&["storm"], 2.0));
        assert_eq!(all.of("idle").count(), 1);
        assert_eq!(
            all.of("storm").map(|sample| sample.figures["count_us"]).collect::<Vec<_>>(),
            [2.0]
        );
    }

    /// Goal: added rounds get new numbers beside the earlier ones, and all commits are named; rounds of a
    /// quick run are refused. Method: one round three times, of two commits, and a quick one.
    #[test]
    fn rounds_are_added() {
        let round = |commit: &str, value| {
            let mut round = results(&["storm"], value);
            let section = round.sections.get_mut("storm").unwrap();
            (section.rounds, section.commit) = (1, commit.to_owned());
            round
        };
        let mut all = Results::default();
        for (commit, value) in [("a", 1.0), ("b", 2.0), ("b", 3.0)] {
            all.add(&round(commit, value)).unwrap();
        }
        let added: Vec<_> =
            all.of("storm").map(|sample| (sample.round, sample.figures["count_us"])).collect();
        assert_eq!(added, [(0, 1.0), (1, 2.0), (2, 3.0)]);
        assert_eq!(all.sections["storm"].rounds, 3);
        assert_eq!(all.sections["storm"].commit, "a, b");
        let mut quick = round("b", 4.0);
        quick.sections.get_mut("storm").unwrap().quick = true;
        all.add(&quick).unwrap_err();
    }

    /// Goal: results that were written can be read. Method: write to a file of this test, and read it again.
    #[test]
    fn files_are_read_back() {
        let path = std::env::temp_dir().join(format!("bench-results-{}.json", std::process::id()));
        results(&["idle"], 1.5).write(&path).unwrap();
        let read = Results::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(read.of("idle").next().unwrap().figures["count_us"], 1.5);
    }
}
