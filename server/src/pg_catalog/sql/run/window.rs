//! Window functions: computed over all rows of a SELECT, after its groups.

use std::collections::HashMap;

use millstream_planner::error::Result;

use super::super::datum::Datum;
use super::super::plan::{Expr, Row, Select, SortBy, Window, WindowKind};
use super::query::Keys;
use super::{Around, Run};

impl Run<'_> {
    pub(super) fn windows(&self, select: &Select, rows: &mut [Row], outer: Option<&Around<'_>>) -> Result<()> {
        let mut values: Vec<Vec<Datum>> = vec![vec![Datum::Null; select.windows.len()]; rows.len()];
        for (number, window) in select.windows.iter().enumerate() {
            for (row, value) in self.window(window, rows, outer)? {
                values[row][number] = value;
            }
        }
        for (row, values) in rows.iter_mut().zip(values) {
            row[select.factors + 1] = Some(values.into());
        }
        Ok(())
    }

    /// A value for every row, by the row's number.
    fn window(&self, window: &Window, rows: &[Row], outer: Option<&Around<'_>>) -> Result<Vec<(usize, Datum)>> {
        let mut partitions: HashMap<Vec<Datum>, Vec<(usize, Vec<Datum>)>> = HashMap::new();
        for (number, row) in rows.iter().enumerate() {
            let around = Around { row, outer };
            let key = window.partition.iter().map(|key| self.evaluate(key, &around)).collect::<Result<_>>()?;
            let mut sorted = Vec::new();
            for key in &window.order {
                sorted.push(match &key.by {
                    SortBy::Expr(expr) => self.evaluate(expr, &around)?,
                    SortBy::Output(_) => Datum::Null,
                });
            }
            partitions.entry(key).or_default().push((number, sorted));
        }
        let mut values = Vec::with_capacity(rows.len());
        for mut partition in partitions.into_values() {
            partition.sort_by_cached_key(|(_, keys)| Keys { keys: keys.clone(), order: &window.order });
            self.partition(window, &partition, rows, outer, &mut values)?;
        }
        Ok(values)
    }

    fn partition(
        &self,
        window: &Window,
        partition: &[(usize, Vec<Datum>)],
        rows: &[Row],
        outer: Option<&Around<'_>>,
        values: &mut Vec<(usize, Datum)>,
    ) -> Result<()> {
        let at = |expr: &Expr, place: usize| match partition.get(place) {
            Some((row, _)) => self.evaluate(expr, &Around { row: &rows[*row], outer }),
            None => Ok(Datum::Null),
        };
        let (mut start, mut groups) = (0, 0i64);
        while start < partition.len() {
            // Rows with the same keys are peers; without an order all are.
            let keys = &partition[start].1;
            let end = start + partition[start..].iter().take_while(|(_, other)| other == keys).count();
            groups += 1;
            let shared = match &window.kind {
                WindowKind::Aggregate(aggregate) => {
                    let so_far: Vec<Row> = partition[..end].iter().map(|(row, _)| rows[*row].clone()).collect();
                    Some(self.aggregate(aggregate, &so_far, outer)?)
                }
                _ => None,
            };
            for (place, (row, _)) in partition.iter().enumerate().take(end).skip(start) {
                self.look()?;
                let value = match &window.kind {
                    WindowKind::RowNumber => (place + 1).into(),
                    WindowKind::Rank => (start + 1).into(),
                    WindowKind::DenseRank => groups.into(),
                    WindowKind::Lag(expr, distance) => {
                        let wanted = i64::try_from(place).unwrap_or(i64::MAX).checked_sub(*distance);
                        let wanted = wanted.and_then(|wanted| usize::try_from(wanted).ok());
                        wanted.map_or(Ok(Datum::Null), |wanted| at(expr, wanted))?
                    }
                    WindowKind::FirstValue(expr) => at(expr, 0)?,
                    WindowKind::LastValue(expr) => at(expr, end - 1)?,
                    WindowKind::Aggregate(_) => shared.clone().unwrap_or(Datum::Null),
                };
                values.push((*row, value));
            }
            start = end;
        }
        Ok(())
    }
}
