//! The runbook of this version, as it is in the sources: what an alert means and what to do is at hand also where the
//! sources are not.

const RUNBOOK: &str = include_str!("../../docs/runbook.md");

/// The whole runbook.
pub(super) fn whole() -> &'static str {
    RUNBOOK
}

/// The section of an alert; `None` if it has none.
pub(super) fn section(alert: &str) -> Option<&'static str> {
    let head = format!("## {alert}\n");
    let start = RUNBOOK
        .match_indices(&head)
        .map(|(start, _)| start)
        .find(|&start| start == 0 || RUNBOOK.as_bytes().get(start - 1) == Some(&b'\n'))?;
    let section = &RUNBOOK[start..];
    let end = section.match_indices("\n## ").next().map_or(section.len(), |(end, _)| end + 1);
    Some(&section[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a section is the alert's, from its head to the next. Method: each of the runbook, which together with what comes
    /// before them must be all of it.
    #[test]
    fn sections_are_whole() {
        let heads = RUNBOOK.lines().filter_map(|line| line.strip_prefix("## "));
        let mut sections = String::new();
        for head in heads {
            let section = section(head).expect(head);
            assert!(section.starts_with(&format!("## {head}\n")), "{head}");
            sections.push_str(section);
        }
        assert!(sections.contains("## HeadcountStoreDown\n") && RUNBOOK.ends_with(&sections));
        for odd in ["", "Headcount", "HeadcountStoreDow", "headcountstoredown", "# x", "../etc"] {
            assert_eq!(section(odd), None, "{odd}");
        }
    }
}
