//! The extended protocol: prepared statements and portals.

use std::sync::Arc;

use datafusion::common::ScalarValue;
use millstream_planner::statement::StatementText;
use tokio_util::sync::CancellationToken;

use super::client_session::{ClientSession, Described};
use super::codec::{self, Bind, Target};
use super::columns::{ResultColumn, describe_columns};
use super::connection::Connection;
use super::copy::output::CopyEncoder;
use super::errors::{self, Failure};
use super::limits::{PORTALS_PER_CONNECTION, STATEMENTS_PER_CONNECTION};
use super::reply;
use super::rows::{ResultRows, rows_token};
use super::values::{ColumnType, DisplaySettings, parameter};
use crate::session::registry::PreparedRow;
use crate::session::{CommandTag, CopyShape, SqlError};

/// A prepared statement.
pub(super) struct Statement<P> {
    /// Its text, for others to see while it runs.
    pub(super) sql: Arc<str>,
    /// `None` when its text is empty.
    pub(super) prepared: Option<P>,
    /// As the client named them, else as the session inferred them.
    parameter_oids: Vec<u32>,
    /// What they are; `None` when it gives no rows.
    pub(super) columns: Option<Vec<ResultColumn>>,
}

/// A prepared statement with its parameters.
pub(super) struct Portal<P> {
    pub(super) statement: Arc<Statement<P>>,
    /// One code per column.
    pub(super) formats: Vec<i16>,
    pub(super) state: PortalState,
}

/// How far a portal was run.
pub(super) enum PortalState {
    Bound(Vec<ScalarValue>),
    Sending(Box<ResultRows>, CommandTag),
    /// All rows are sent; running it again gives none.
    Exhausted(CommandTag),
    /// A statement without rows has run.
    Done,
}

impl<S: ClientSession> Connection<S> {
    /// Parse.
    pub(super) async fn parse(&mut self, name: String, sql: &str, type_oids: Vec<u32>) -> Result<(), Failure> {
        if name.is_empty() {
            self.statements.remove("");
        } else if self.statements.contains_key(&name) {
            return Err(errors::duplicate_statement(&name).into());
        }
        if self.statements.len() >= STATEMENTS_PER_CONNECTION {
            let message = format!("a connection can have at most {STATEMENTS_PER_CONNECTION} prepared statements");
            return Err(errors::limit_exceeded(message, "Close statements that are not needed.").into());
        }
        let texts = self.session.split(sql)?;
        let statement = match texts.as_slice() {
            [] => Statement { sql: "".into(), prepared: None, parameter_oids: type_oids, columns: None },
            [text] => self.prepare(text, type_oids).await?,
            _ => {
                return Err(errors::syntax_error("cannot insert multiple commands into a prepared statement").into());
            }
        };
        if !name.is_empty() {
            let row = PreparedRow::now(sql, statement.parameter_oids.clone(), false);
            self.registration.seat().prepares(&name, row);
        }
        self.statements.insert(name, Arc::new(statement));
        reply::parse_complete(&mut self.socket.output);
        Ok(())
    }

    pub(super) async fn prepare(
        &mut self,
        text: &StatementText,
        type_oids: Vec<u32>,
    ) -> Result<Statement<S::Prepared>, Failure> {
        self.registration.seat().begins(&text.sql);
        let types = type_oids.iter().map(|oid| parameter::type_of_oid(*oid)).collect::<Result<Vec<_>, _>>()?;
        let prepared = self.planned(text, &types).await?;
        let columns = prepared.columns().map(describe_columns).transpose()?;
        let inferred = prepared.parameters().iter().enumerate();
        let parameter_oids = inferred.map(|(index, inferred)| match type_oids.get(index) {
            Some(&named) if parameter::is_known(named) => Ok(named),
            _ => match prepared.parameter_oid(index).filter(|oid| parameter::is_known(*oid)) {
                Some(own) => Ok(own),
                None => Ok(ColumnType::of_type(inferred).map_err(SqlError::from)?.oid()),
            },
        });
        let parameter_oids = parameter_oids.collect::<Result<_, SqlError>>()?;
        Ok(Statement { sql: text.sql.as_str().into(), prepared: Some(prepared), parameter_oids, columns })
    }

    /// Bind.
    pub(super) async fn bind(&mut self, bind: Bind) -> Result<(), Failure> {
        let statement = self.statements.get(&bind.statement).ok_or_else(|| errors::no_statement(&bind.statement))?;
        let statement = Arc::clone(statement);
        let statement = self.bound_now(&statement).await?;
        if bind.portal.is_empty() {
            self.portals.remove("");
        } else if self.portals.contains_key(&bind.portal) || self.session.cursor(&bind.portal).is_some() {
            return Err(errors::duplicate_portal(&bind.portal).into());
        }
        if self.portals.len() >= PORTALS_PER_CONNECTION {
            let message = format!("a connection can have at most {PORTALS_PER_CONNECTION} portals");
            return Err(errors::limit_exceeded(message, "Close portals that are not needed.").into());
        }
        let parameters = self.parameters(&statement, &bind)?;
        let column_count = statement.columns.as_ref().map_or(0, Vec::len);
        // Drivers ask for binary columns before they know whether there are any.
        let formats = match (bind.result_formats.as_slice(), column_count) {
            (_, 0) => Vec::new(),
            ([], count) => vec![0; count],
            ([one], count) => vec![*one; count],
            (each, count) if each.len() == count => each.to_vec(),
            (each, count) => {
                let message = format!("bind message has {} result formats but query has {count} columns", each.len());
                return Err(errors::protocol_violation(message).into());
            }
        };
        check_formats(&formats)?;
        let portal = Portal { statement, formats, state: PortalState::Bound(parameters) };
        self.portals.insert(bind.portal, portal);
        reply::bind_complete(&mut self.socket.output);
        Ok(())
    }

    fn parameters(&self, statement: &Statement<S::Prepared>, bind: &Bind) -> Result<Vec<ScalarValue>, SqlError> {
        let count = bind.parameters.len();
        let formats = match bind.parameter_formats.as_slice() {
            [] => vec![0; count],
            [one] => vec![*one; count],
            each if each.len() == count => each.to_vec(),
            each => {
                let message = format!("bind message has {} parameter formats but {count} parameters", each.len());
                return Err(errors::protocol_violation(message));
            }
        };
        check_formats(&formats)?;
        let types = statement.prepared.as_ref().map_or(&[][..], |prepared| prepared.parameters());
        if types.len() != count {
            return Err(errors::protocol_violation(format!(
                "bind message supplies {count} parameters, but prepared statement \"{}\" requires {}",
                bind.statement,
                types.len()
            )));
        }
        let display = DisplaySettings::of(&self.session);
        let values = bind.parameters.iter().zip(formats).zip(&statement.parameter_oids).zip(types).enumerate();
        values
            .map(|(index, (((bytes, format), oid), data_type))| {
                parameter::decode(bytes.as_ref(), format, *oid, data_type, &display).map_err(|mut error| {
                    error.detail.get_or_insert_with(|| format!("The value of parameter ${} is wrong.", index + 1));
                    error
                })
            })
            .collect()
    }

    /// Describe of a statement.
    pub(super) fn describe_statement(&mut self, name: &str) -> Result<(), Failure> {
        let statement = self.statements.get(name).ok_or_else(|| errors::no_statement(name))?;
        let output = &mut self.socket.output;
        reply::parameter_description(output, &statement.parameter_oids);
        match &statement.columns {
            Some(columns) => reply::row_description(output, columns, &vec![0; columns.len()]),
            None => reply::no_data(output),
        }
        Ok(())
    }

    /// Describe of a portal.
    pub(super) fn describe_portal(&mut self, name: &str) -> Result<(), Failure> {
        let Some(portal) = self.portals.get(name) else {
            return if self.describe_cursor(name)? { Ok(()) } else { Err(errors::no_portal(name).into()) };
        };
        let output = &mut self.socket.output;
        match &portal.statement.columns {
            Some(columns) => reply::row_description(output, columns, &portal.formats),
            None => reply::no_data(output),
        }
        Ok(())
    }

    /// Close; what is not there is closed already.
    pub(super) fn close(&mut self, target: &Target) {
        match target {
            Target::Statement(name) => {
                self.statements.remove(name);
                self.registration.seat().forgets(name);
            }
            Target::Portal(name) => {
                self.portals.remove(name);
                self.session.close_cursor(name);
            }
        }
        reply::close_complete(&mut self.socket.output);
    }

    /// Execute. The portal stands aside while it runs, so that a failure leaves none behind.
    pub(super) async fn execute_portal(&mut self, name: String, row_limit: i32) -> Result<(), Failure> {
        let limit = u64::try_from(row_limit).ok().filter(|limit| *limit > 0);
        let Some(mut portal) = self.portals.remove(&name) else {
            let shape = self.session.cursor(&name).ok_or_else(|| errors::no_portal(&name))?;
            return self.execute_cursor(&name, shape, limit).await;
        };
        self.registration.seat().begins(&portal.statement.sql);
        portal.state = match portal.state {
            PortalState::Bound(parameters) => {
                let token = self.statement_token();
                let _running = self.registration.running(token.clone());
                self.start_portal(&portal.statement, &portal.formats, parameters, token, limit).await?
            }
            PortalState::Sending(rows, tag) => {
                let _running = self.registration.running(rows.token().clone());
                self.send_portal(rows, tag, limit).await?
            }
            PortalState::Exhausted(tag) => {
                reply::complete(&mut self.socket.output, &tag, 0);
                PortalState::Exhausted(tag)
            }
            PortalState::Done => {
                return Err(errors::portal_has_run(&name).into());
            }
        };
        self.portals.insert(name, portal);
        Ok(())
    }

    async fn start_portal(
        &mut self,
        statement: &Statement<S::Prepared>,
        formats: &[i16],
        parameters: Vec<ScalarValue>,
        token: CancellationToken,
        limit: Option<u64>,
    ) -> Result<PortalState, Failure> {
        let Some(prepared) = &statement.prepared else {
            reply::complete(&mut self.socket.output, &CommandTag::Empty, 0);
            return Ok(PortalState::Done);
        };
        // Where the Sync is here already the statement is alone, and fails or is durable before it is answered.
        self.session.more_follows(!codec::sync_is_next(&self.socket.input));
        if let Some(copy) = prepared.copy().cloned() {
            let (tag, rows) = self.copy(prepared, parameters, &copy, token).await?;
            reply::complete(&mut self.socket.output, &tag, rows);
            return Ok(PortalState::Done);
        }
        let check = statement.columns.as_ref().map(|columns| self.form(columns, formats.to_vec()).check(None));
        let outcome = self.run_statement(prepared, parameters, check, &token).await?;
        match (&statement.columns, outcome.rows) {
            (Some(columns), Some(stream)) => {
                let token = rows_token(token, outcome.durable);
                let rows = ResultRows::new(stream, self.form(columns, formats.to_vec()), token);
                self.send_portal(Box::new(rows), outcome.tag, limit).await
            }
            (Some(_), None) => {
                reply::complete(&mut self.socket.output, &outcome.tag, 0);
                Ok(PortalState::Exhausted(outcome.tag))
            }
            (None, None) => {
                reply::complete(&mut self.socket.output, &outcome.tag, 0);
                Ok(PortalState::Done)
            }
            (None, Some(_)) => Err(errors::internal("a statement without columns gave rows").into()),
        }
    }

    /// Runs a COPY, in either protocol, up to, but without, its terminal message.
    pub(super) async fn copy(
        &mut self,
        prepared: &S::Prepared,
        parameters: Vec<ScalarValue>,
        shape: &CopyShape,
        token: CancellationToken,
    ) -> Result<(CommandTag, u64), Failure> {
        let shape = match shape {
            CopyShape::In(shape) => return Ok((self.copy_in(prepared, shape, &token).await?.tag, 0)),
            CopyShape::Out(shape) => shape,
        };
        let form = self.form(&describe_columns(&shape.columns)?, CopyEncoder::formats(shape));
        let check = form.clone().check(Some(Arc::clone(shape)));
        let outcome = self.run_statement(prepared, parameters, Some(check), &token).await?;
        let stream = outcome.rows.ok_or_else(|| errors::internal("a COPY gave no rows"))?;
        let rows = ResultRows::new(stream, form, rows_token(token, outcome.durable));
        let progress = self.registration.seat().copies(shape.relation, false);
        let rows = rows.copied(shape, progress, &mut self.socket)?.send_copy(&mut self.socket).await?;
        Ok((outcome.tag, rows))
    }

    async fn send_portal(
        &mut self,
        mut rows: Box<ResultRows>,
        tag: CommandTag,
        limit: Option<u64>,
    ) -> Result<PortalState, Failure> {
        let sent = rows.send(&mut self.socket, limit).await?;
        if sent.finished {
            reply::complete(&mut self.socket.output, &tag, sent.rows);
            Ok(PortalState::Exhausted(tag))
        } else {
            reply::portal_suspended(&mut self.socket.output);
            Ok(PortalState::Sending(rows, tag))
        }
    }
}

fn check_formats(formats: &[i16]) -> Result<(), SqlError> {
    match formats.iter().find(|format| !matches!(format, 0 | 1)) {
        Some(unknown) => Err(errors::invalid_parameter(format!("unsupported format code: {unknown}"))),
        None => Ok(()),
    }
}
