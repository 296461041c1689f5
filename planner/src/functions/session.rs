//! Functions whose value is the statement's, not the row's: the clock and who asks.
//!
//! Their values come in with the statement as [`SessionFacts`]; nothing here reads a clock.

use std::any::Any;
use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::common::config::{ConfigEntry, ConfigExtension, ExtensionOptions};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use super::settings::SessionSettings;
use super::{ServerCalls, sql_type};
use crate::error::PlanError;
use crate::reading::Reading;
use crate::values::datetime::DAY_MICROS;
use crate::values::{TextStyle, Zone};

/// What a statement's functions may ask about its surroundings.
#[derive(Clone, Debug)]
pub struct SessionFacts {
    /// The statement's time, microseconds since 1970.
    pub now_micros: i64,
    /// The role whose privileges count.
    pub user: String,
    /// The role that connected.
    pub session_user: String,
    /// The database that was connected to.
    pub database: String,
    /// The first schema of the search path.
    pub schema: String,
    /// What `version()` says; begins with `PostgreSQL 1x.y`, or drivers do not connect.
    pub version: String,
    /// The session's settings.
    pub settings: Arc<dyn SessionSettings>,
    /// The server, as far as functions ask it to do something.
    pub server: Arc<dyn ServerCalls>,
}

impl ConfigExtension for SessionFacts {
    const PREFIX: &'static str = "millstream";
}

impl ExtensionOptions for SessionFacts {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn cloned(&self) -> Box<dyn ExtensionOptions> {
        Box::new(self.clone())
    }

    fn set(&mut self, key: &str, _value: &str) -> Result<()> {
        Err(DataFusionError::Configuration(format!("{key} can't be set")))
    }

    fn entries(&self) -> Vec<ConfigEntry> {
        Vec::new()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Fact {
    Now,
    LocalNow,
    Today,
    TimeOfDay,
    User,
    SessionUser,
    Database,
    Schema,
    Version,
}

/// Name, aliases and fact of every function without arguments.
const FACTS: &[(&str, &[&str], Fact)] = &[
    ("now", &["current_timestamp", "transaction_timestamp", "statement_timestamp"], Fact::Now),
    ("localtimestamp", &[], Fact::LocalNow),
    ("current_date", &["today"], Fact::Today),
    ("localtime", &[], Fact::TimeOfDay),
    ("current_user", &["user", "current_role"], Fact::User),
    ("session_user", &[], Fact::SessionUser),
    ("current_database", &["current_catalog"], Fact::Database),
    ("current_schema", &[], Fact::Schema),
    ("version", &[], Fact::Version),
];

/// What older texts may call beside them.
const EARLIER_FACTS: &[(&str, &[&str], Fact)] = &[("localtime", &["current_time"], Fact::TimeOfDay)];

/// The functions.
pub(super) fn functions(reading: Reading) -> Vec<Arc<ScalarUDF>> {
    let earlier = EARLIER_FACTS.iter().filter(|_| reading < Reading::POSTGRES_FUNCTIONS);
    let facts = FACTS.iter().chain(earlier).map(|(name, aliases, fact)| {
        Arc::new(ScalarUDF::new_from_impl(FactFunction {
            name,
            aliases: aliases.iter().map(ToString::to_string).collect(),
            fact: *fact,
            zone: None,
            signature: Signature::nullary(Volatility::Stable),
        }))
    });
    let type_of = TypeOf { signature: Signature::any(1, Volatility::Immutable) };
    facts.chain([Arc::new(ScalarUDF::new_from_impl(type_of))]).collect()
}

/// Whether a function's value is one of [`SessionFacts`].
pub(crate) fn is_fact(function: &ScalarUDF) -> bool {
    function.inner().downcast_ref::<FactFunction>().is_some()
}

/// The value of such a function.
pub(crate) fn fact_value(function: &ScalarUDF, facts: Option<&SessionFacts>) -> Result<ScalarValue> {
    match function.inner().downcast_ref::<FactFunction>() {
        Some(function) => function.value(facts),
        None => Err(DataFusionError::Internal(format!("{} is no fact of the session", function.name()))),
    }
}

/// Whether a function asks for the time.
pub(super) fn asks_for_time(function: &ScalarUDF) -> bool {
    function.inner().downcast_ref::<FactFunction>().is_some_and(|function| match function.fact {
        Fact::Now | Fact::LocalNow | Fact::Today | Fact::TimeOfDay => true,
        Fact::User | Fact::SessionUser | Fact::Database | Fact::Schema | Fact::Version => false,
    })
}

/// Whether a function asks who is asking.
pub(super) fn asks_for_session(function: &ScalarUDF) -> bool {
    function.inner().downcast_ref::<FactFunction>().is_some() && !asks_for_time(function)
}

/// The function with a session's zone; `None` for one whose value has none.
pub(super) fn in_session(function: &ScalarUDF, style: TextStyle) -> Option<ScalarUDF> {
    let found = function.inner().downcast_ref::<FactFunction>()?;
    matches!(found.fact, Fact::LocalNow | Fact::Today | Fact::TimeOfDay).then(|| {
        ScalarUDF::from(FactFunction {
            name: found.name,
            aliases: found.aliases.clone(),
            fact: found.fact,
            zone: Some(style.zone),
            signature: found.signature.clone(),
        })
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct FactFunction {
    name: &'static str,
    aliases: Vec<String>,
    fact: Fact,
    /// Whose clocks show the time, once the call is bound.
    zone: Option<Zone>,
    signature: Signature,
}

impl FactFunction {
    /// What the session's clocks show.
    fn local_micros(&self, facts: &SessionFacts) -> Result<i64> {
        let zone = self.zone.ok_or_else(|| {
            let error = PlanError::internal(format!("{}() was bound without a session", self.name));
            DataFusionError::External(Box::new(error))
        })?;
        Ok(facts.now_micros.saturating_add(i64::from(zone.offset_at(facts.now_micros)) * 1_000_000))
    }

    fn value(&self, facts: Option<&SessionFacts>) -> Result<ScalarValue> {
        let facts = facts.ok_or_else(|| {
            DataFusionError::Execution(format!("{}() has a value only where a statement runs", self.name))
        })?;
        let text = |text: &str| ScalarValue::Utf8(Some(text.to_string()));
        Ok(match self.fact {
            Fact::Now => ScalarValue::TimestampMicrosecond(Some(facts.now_micros), Some("UTC".into())),
            Fact::LocalNow => ScalarValue::TimestampMicrosecond(Some(self.local_micros(facts)?), None),
            Fact::Today => {
                let day = i32::try_from(self.local_micros(facts)?.div_euclid(DAY_MICROS))
                    .map_err(|_| DataFusionError::Execution("date out of range".to_string()))?;
                ScalarValue::Date32(Some(day))
            }
            Fact::TimeOfDay => ScalarValue::Time64Microsecond(Some(self.local_micros(facts)?.rem_euclid(DAY_MICROS))),
            Fact::User => text(&facts.user),
            Fact::SessionUser => text(&facts.session_user),
            Fact::Database => text(&facts.database),
            Fact::Schema => text(&facts.schema),
            Fact::Version => text(&facts.version),
        })
    }
}

impl ScalarUDFImpl for FactFunction {
    fn name(&self) -> &str {
        self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(match self.fact {
            Fact::Now => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Fact::LocalNow => DataType::Timestamp(TimeUnit::Microsecond, None),
            Fact::Today => DataType::Date32,
            Fact::TimeOfDay => DataType::Time64(TimeUnit::Microsecond),
            Fact::User | Fact::SessionUser | Fact::Database | Fact::Schema | Fact::Version => DataType::Utf8,
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.value(args.config_options.extensions.get::<SessionFacts>()).map(ColumnarValue::Scalar)
    }
}

/// `pg_typeof(x)`: the name of the type.
#[derive(Debug, PartialEq, Eq, Hash)]
struct TypeOf {
    signature: Signature,
}

impl ScalarUDFImpl for TypeOf {
    fn name(&self) -> &str {
        "pg_typeof"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let name = args.arg_fields.first().map(|field| sql_type(field.data_type()));
        Ok(ColumnarValue::Scalar(ScalarValue::Utf8(name)))
    }
}
