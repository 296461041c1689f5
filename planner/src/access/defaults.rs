//! Default privileges: what a role gives on what it will make, in any schema or in one of them.
//!
//! As in Postgres, what was said for all schemas takes the place of what holds without a word, and what was said for
//! one schema comes on top of that.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{AclItem, Grant, ObjectClass, RoleOid, default_acl, grant};

/// What default privileges are for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DefaultsFor {
    /// Whose objects.
    pub owner: RoleOid,
    /// In which schema; `None` for any.
    pub schema: Option<String>,
    /// Relations, or schemas.
    pub relations: bool,
}

impl DefaultsFor {
    /// The class of the objects.
    pub fn class(&self) -> ObjectClass {
        if self.relations { ObjectClass::Relation } else { ObjectClass::Schema }
    }

    /// What holds as long as nothing was said.
    pub fn unsaid(&self) -> Vec<AclItem> {
        match self.schema {
            None => default_acl(self.class(), self.owner),
            Some(_) => Vec::new(),
        }
    }
}

/// All default privileges, with their OIDs.
#[derive(Clone, Debug, Default)]
pub struct DefaultPrivileges(BTreeMap<DefaultsFor, (u32, Vec<AclItem>)>);

impl DefaultPrivileges {
    /// What was said.
    pub fn get(&self, of: &DefaultsFor) -> Option<&(u32, Vec<AclItem>)> {
        self.0.get(of)
    }

    /// All of them, in a fixed order.
    pub fn iter(&self) -> impl Iterator<Item = (&DefaultsFor, &(u32, Vec<AclItem>))> {
        self.0.iter()
    }

    /// Sets what was said; `None` takes it back.
    pub fn set(&mut self, of: DefaultsFor, oid: u32, acl: Option<Vec<AclItem>>) {
        match acl {
            Some(acl) => drop(self.0.insert(of, (oid, acl))),
            None => drop(self.0.remove(&of)),
        }
    }

    /// What is granted on a new object; `None` where that is what holds without a word.
    pub fn of_new(&self, owner: RoleOid, schema: Option<&str>, relations: bool) -> Option<Vec<AclItem>> {
        let anywhere = DefaultsFor { owner, schema: None, relations };
        let here = schema.map(|schema| DefaultsFor { schema: Some(schema.to_string()), ..anywhere.clone() });
        let unsaid = anywhere.unsaid();
        let mut acl = self.get(&anywhere).map_or_else(|| unsaid.clone(), |(_, acl)| acl.clone());
        for item in here.and_then(|here| self.get(&here)).into_iter().flat_map(|(_, acl)| acl) {
            grant_item(&mut acl, item);
        }
        // Postgres shows them in this order.
        acl.sort_by_key(|item| (item.grantee, item.grantor));
        (acl != unsaid).then_some(acl)
    }

    /// A schema has another name.
    pub fn rename_schema(&mut self, old: &str, new: &str) {
        let renamed = std::mem::take(&mut self.0).into_iter().map(|(mut of, said)| {
            if of.schema.as_deref() == Some(old) {
                of.schema = Some(new.to_string());
            }
            (of, said)
        });
        self.0 = renamed.collect();
    }

    /// A schema is gone.
    pub fn remove_schema(&mut self, name: &str) {
        self.0.retain(|of, _| of.schema.as_deref() != Some(name));
    }
}

/// Gives what an entry of another list gives.
pub fn grant_item(acl: &mut Vec<AclItem>, item: &AclItem) {
    let AclItem { grantee, grantor, privileges, grantable } = *item;
    grant(acl, &Grant { grantee, grantor, privileges, option_only: false });
    if !grantable.is_empty() {
        grant(acl, &Grant { grantee, grantor, privileges: grantable, option_only: true });
    }
}
