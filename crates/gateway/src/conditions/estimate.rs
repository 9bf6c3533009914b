//! What the planner expects, from what EXPLAIN says.

use policy::{Check, Condition};

/// What a statement is expected to do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Estimate {
    /// Rows that it gives, or that one of its parts writes: whichever is more.
    pub(crate) rows: f64,
    pub(crate) cost: f64,
}

impl Estimate {
    /// The question, in front of a statement's text. It keeps the numbers of the parameters.
    pub(crate) fn question(text: &str) -> String {
        format!("EXPLAIN (FORMAT JSON) {text}")
    }

    /// From the server's answer. `None` where it is not a plan: there nothing is known.
    ///
    /// PostgreSQL writes a key to a line and escapes what names could break, so the lines and how
    /// far they are indented say it all, however deep the plan is.
    pub(crate) fn read(answer: &str) -> Option<Estimate> {
        let mut plan = Plan::default();
        for line in answer.lines() {
            let key = line.trim_start_matches(' ');
            plan.line(line.len() - key.len(), key.trim_end_matches(','))?;
        }
        Some(Estimate { rows: plan.rows?.max(plan.written()), cost: plan.cost? })
    }

    /// Whether all conditions hold that are about an estimate.
    pub(crate) fn meets(&self, check: &Check) -> bool {
        check.conditions.iter().all(|condition| match condition {
            Condition::EstimateOver(most) => self.rows > *most as f64,
            Condition::CostOver(most) => self.cost > *most,
            Condition::ChangedOver(_) | Condition::EveryRow => true,
        })
    }
}

/// A plan as it is read, line by line.
#[derive(Default)]
struct Plan {
    /// Of the outermost node.
    rows: Option<f64>,
    cost: Option<f64>,
    outermost: Option<usize>,
    /// The nodes that enclose the present line, by how far their keys are indented.
    nodes: Vec<Node>,
    /// The most that a finished node writes.
    most_written: f64,
}

struct Node {
    indent: usize,
    writes: bool,
    /// It feeds the node around it; it is not a query on the side.
    feeds: bool,
    /// Rows of the nodes that feed this one.
    fed: f64,
}

impl Plan {
    /// `None` where a number is not one.
    fn line(&mut self, indent: usize, key: &str) -> Option<()> {
        let Some((name, value)) = key.strip_prefix('"').and_then(|key| key.split_once("\": "))
        else {
            return Some(());
        };
        match name {
            "Node Type" => {
                while let Some(over) = self.nodes.pop_if(|node| node.indent >= indent) {
                    self.finish(&over);
                }
                self.outermost.get_or_insert(indent);
                let writes = value == "\"ModifyTable\"";
                self.nodes.push(Node { indent, writes, feeds: false, fed: 0.0 });
            }
            "Parent Relationship" => {
                if let Some(node) = self.nodes.last_mut() {
                    node.feeds = matches!(value, "\"Outer\"" | "\"Member\"");
                }
            }
            "Plan Rows" => {
                let rows: f64 = value.parse().ok()?;
                if self.outermost == Some(indent) {
                    self.rows = Some(rows);
                }
                if let [.., around, node] = self.nodes.as_mut_slice()
                    && node.feeds
                {
                    around.fed += rows;
                }
            }
            "Total Cost" if self.outermost == Some(indent) => {
                self.cost = Some(value.parse().ok()?);
            }
            _ => {}
        }
        Some(())
    }

    fn finish(&mut self, node: &Node) {
        if node.writes {
            self.most_written = self.most_written.max(node.fed);
        }
    }

    fn written(&mut self) -> f64 {
        while let Some(node) = self.nodes.pop() {
            self.finish(&node);
        }
        self.most_written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_are_given_and_rows_that_are_written() {
        let select = r#"[
  {
    "Plan": {
      "Node Type": "Aggregate",
      "Total Cost": 44.25,
      "Plan Rows": 1,
      "Plans": [
        {
          "Node Type": "Seq Scan",
          "Parent Relationship": "Outer",
          "Alias": "a\", \"Plan Rows\": 9",
          "Total Cost": 35.50,
          "Plan Rows": 2550
        }
      ]
    }
  }
]"#;
        assert_eq!(Estimate::read(select), Some(Estimate { rows: 1.0, cost: 44.25 }));
        let cte = r#"[
  {
    "Plan": {
      "Node Type": "CTE Scan",
      "Total Cost": 90.0,
      "Plan Rows": 3,
      "Plans": [
        {
          "Node Type": "ModifyTable",
          "Parent Relationship": "InitPlan",
          "Total Cost": 41.88,
          "Plan Rows": 850,
          "Plans": [
            {
              "Node Type": "Seq Scan",
              "Parent Relationship": "Outer",
              "Plan Rows": 850
            },
            {
              "Node Type": "Seq Scan",
              "Parent Relationship": "InitPlan",
              "Plan Rows": 7000
            }
          ]
        }
      ]
    }
  }
]"#;
        assert_eq!(Estimate::read(cte), Some(Estimate { rows: 850.0, cost: 90.0 }));
    }

    #[test]
    fn what_is_no_plan_is_no_estimate() {
        for answer in ["", "[]", "[\n  \"Utility Statement\"\n]", "\"Plan Rows\": many"] {
            assert_eq!(Estimate::read(answer), None, "{answer}");
        }
    }
}
