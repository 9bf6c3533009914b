//! Which statements are proven to read and nothing more, so that PostgreSQL may work on them while
//! their records become durable. What is not proven waits.

use sql::catalog::{Catalog, Event, Function, RelationKind};
use sql::facts::{Facts, Kind, RelationUse, Transaction};
use sql::functions::Class;

pub(super) fn only_reads(facts: &Facts, catalog: &Catalog) -> bool {
    match facts.kind {
        Kind::Empty | Kind::Show | Kind::Transaction(Transaction::Begin) => true,
        Kind::Select => {
            !facts.writes
                && facts.opaque.is_none()
                && facts.handle.is_none()
                && facts.named.is_empty()
                && facts.commands.is_empty()
                && facts.channels.is_empty()
                && !facts.settings.iter().any(|setting| setting.change)
                && facts.functions.iter().all(|id| catalog.function(*id).is_some_and(is_quiet))
                && facts.relations.iter().all(|used| is_read_alone(used, catalog))
        }
        _ => false,
    }
}

/// One of the server's own that comes to the same whenever it is called, and does nothing else.
fn is_quiet(function: &Function) -> bool {
    matches!(function.class, Some(Class::Pure | Class::Describes)) && !function.volatile
}

/// Its rows are looked at, and nobody has put code in the way: no row security, no foreign server.
fn is_read_alone(used: &RelationUse, catalog: &Catalog) -> bool {
    let RelationUse {
        relation: Some(relation),
        place: _,
        only: _,
        aliased: _,
        twice: _,
        read: Some(_),
        insert: None,
        update: None,
        delete: false,
        truncate: false,
        lock_rows: false,
        lock: None,
        create: false,
        maintain: false,
        like: false,
        reference: None,
        command: false,
        tells: false,
    } = used
    else {
        return false;
    };
    let carried = catalog.carried(*relation, Event::Read);
    let mut called = carried.calls.iter().map(|call| call.function);
    let mut done = carried.done.iter();
    called.all(|id| catalog.function(id).is_some_and(is_quiet))
        && done.all(|(id, event)| {
            let is_plain = catalog.relation(*id).is_some_and(|relation| {
                relation.kind != RelationKind::Foreign && !relation.row_security
            });
            *event == Event::Read && is_plain
        })
}
