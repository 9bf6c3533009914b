//! The policies in force for one session, and what they come to under a catalog. Who they are in
//! force for is settled when the session begins and again when the file is read again.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use policy::{InForce, InForceId, RuleRef, Scope};
use sql::catalog::Catalog;

use super::judging;
use crate::refusal::Refusal;

/// Scopes that a thread keeps: of few policies, under the newest catalogs of few databases.
const SCOPES_MAX: usize = 64;

pub(crate) struct Rules {
    in_force: InForce,
    /// For what names nothing of the database.
    bare: Scope,
}

static NOTHING: LazyLock<Arc<Catalog>> = LazyLock::new(Arc::default);

impl Rules {
    pub(crate) fn new(in_force: InForce) -> Rules {
        let bare = in_force.scope(&NOTHING);
        Rules { in_force, bare }
    }

    pub(crate) fn in_force(&self) -> &InForce {
        &self.in_force
    }

    /// The rule that grants everything, if that is all there is to say.
    pub(super) fn everything(&self) -> Option<&RuleRef> {
        self.in_force.grants_everything()
    }

    pub(super) fn bare(&self) -> &Scope {
        &self.bare
    }

    /// A setting that a client brings when it connects.
    pub(crate) fn judge_setting(&self, name: &str, value: &str) -> Result<(), Refusal> {
        match judging::refusal_of(self.bare.decide_setting(name, value)) {
            Some(refusal) => Err(refusal),
            None => Ok(()),
        }
    }

    pub(super) fn scope(&self, catalog: &Arc<Catalog>, version: u64) -> Scope {
        thread_local! {
            static SCOPES: RefCell<HashMap<(InForceId, u64), Scope>> = RefCell::default();
        }
        SCOPES.with_borrow_mut(|scopes| {
            let key = (self.in_force.id().clone(), version);
            if let Some(scope) = scopes.get(&key) {
                return scope.clone();
            }
            if scopes.len() >= SCOPES_MAX {
                scopes.clear();
            }
            let scope = self.in_force.scope(catalog);
            scopes.insert(key, scope.clone());
            scope
        })
    }
}
