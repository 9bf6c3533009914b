//! ALTER TABLE, and what is altered like one: what each of its commands does, and to which columns.

use pg_raw_parse::Node;
use pg_raw_parse::nodes::{AlterTableCmd, AlterTableStmt, AlterTableType};

use super::from::columns_named;
use super::object::{kind_of, list, named_on};
use super::scope::Item;
use super::table::Host;
use super::{Walk, Walked};
use crate::facts::{Effect, NotUnderstood, Object, ObjectKind};

impl<'w> Walk<'w> {
    pub(super) fn alter_table(&mut self, alter: &'w AlterTableStmt) -> Walked<&'static str> {
        let kind = kind_of(alter.objtype)?;
        let (number, object) = self.target_of_command(alter.relation(), kind, alter.missing_ok)?;
        Self::few(alter.cmds().len())?;
        let mut commands = Vec::new();
        for command in alter.cmds() {
            let Node::AlterTableCmd(command) = command else {
                return Err(NotUnderstood::Construct("ALTER TABLE"));
            };
            commands.push(command);
        }
        // Columns that it adds are in sight for what it adds beside them.
        let added = commands.iter().filter_map(|command| match command.def() {
            Node::ColumnDef(column) if command.subtype == AlterTableType::AT_AddColumn => {
                column.colname()
            }
            _ => None,
        });
        let added: Vec<&'w str> = added.collect();
        let scope = match (alter.relation(), number) {
            (Some(range), Some(number)) => {
                let scope = self.scope_of_target(range, number)?;
                if !added.is_empty()
                    && let Some(item) = self.scope_mut(scope)?.items.pop()
                {
                    let mut columns = self.columns_of(&item);
                    columns.extend(columns_named(added.iter()));
                    let item = Item { columns: Some(columns.into()), ..item };
                    self.scope_mut(scope)?.items.push(item);
                }
                scope
            }
            _ => self.scope_of_new(None, &added)?,
        };
        let host = Host { range: alter.relation(), scope, number };
        self.alters_table(&object);
        for command in &commands {
            if let Some(table) = object.relation.filter(|_| number.is_some()) {
                self.changes(command, table);
            }
            self.alter(command, &object, host)?;
        }
        Ok(object.kind.alter())
    }

    fn alter(&mut self, command: &'w AlterTableCmd, object: &Object, host: Host<'w>) -> Walked {
        use AlterTableType as Type;
        self.see(command);
        let mut object = object.clone();
        let name = command.name().unwrap_or_default();
        // Names are of columns or of something else; of columns they are looked up.
        let mut effect = Effect::Alter;
        match command.subtype {
            Type::AT_AddColumn | Type::AT_AddColumnToView => {
                let Node::ColumnDef(column) = command.def() else { return Err(unknown()) };
                object.new_columns.extend(column.colname().map(str::to_owned));
                self.column(column, host)?;
            }
            Type::AT_ColumnDefault => {
                self.column_of(&mut object, command, host)?;
                self.casts.extend(self.catalog.assignment_casts());
                self.expressions([command.def()], host.scope);
                if matches!(command.def(), Node::None) {
                    effect = Effect::Drop;
                }
            }
            Type::AT_SetExpression => {
                self.column_of(&mut object, command, host)?;
                self.expressions([command.def()], host.scope);
            }
            Type::AT_SetNotNull => {
                self.column_of(&mut object, command, host)?;
                self.take_column(name, host.number);
            }
            Type::AT_DropNotNull | Type::AT_DropExpression | Type::AT_DropIdentity => {
                self.column_of(&mut object, command, host)?;
                effect = Effect::Drop;
            }
            Type::AT_DropColumn => {
                self.column_of(&mut object, command, host)?;
                effect = Effect::Drop;
            }
            Type::AT_SetStatistics => {
                // Of an index the column may go by its number.
                if command.name().is_some() && object.kind != ObjectKind::Index {
                    self.column_of(&mut object, command, host)?;
                }
                self.see_all(command.def())?;
            }
            Type::AT_SetOptions
            | Type::AT_ResetOptions
            | Type::AT_SetStorage
            | Type::AT_SetCompression
            | Type::AT_AlterColumnGenericOptions => {
                self.column_of(&mut object, command, host)?;
                self.see_all(command.def())?;
            }
            Type::AT_AddIdentity => {
                self.column_of(&mut object, command, host)?;
                let Node::Constraint(constraint) = command.def() else { return Err(unknown()) };
                self.constraint(constraint, host, None)?;
            }
            Type::AT_SetIdentity => {
                self.column_of(&mut object, command, host)?;
                self.sequence_options(list(command.def()).into_iter())?;
            }
            Type::AT_AlterColumnType => {
                self.column_of(&mut object, command, host)?;
                self.take_column(name, host.number);
                let Node::ColumnDef(column) = command.def() else { return Err(unknown()) };
                // What stands in USING is kept where a default would be.
                self.column(column, host)?;
            }
            Type::AT_AddConstraint => {
                let Node::Constraint(constraint) = command.def() else { return Err(unknown()) };
                self.constraint(constraint, host, None)?;
            }
            Type::AT_AlterConstraint => {
                self.see_all(command.def())?;
                if let Node::ATAlterConstraint(constraint) = command.def() {
                    let name = constraint.conname().unwrap_or_default();
                    self.about_constraint(&mut object, name);
                }
            }
            Type::AT_ValidateConstraint => {
                self.about_constraint(&mut object, name);
                // It looks at the rows that are there.
                self.tells(host.number);
                if let Some(columns) = host.number.and_then(|number| self.read_of(number)) {
                    columns.numbers.extend(&object.columns);
                }
            }
            Type::AT_DropConstraint => {
                self.about_constraint(&mut object, name);
                effect = Effect::Drop;
            }
            Type::AT_ChangeOwner => {
                self.role(command.newowner());
                self.does_only("alter owner", Effect::Alter, object);
                return Ok(());
            }
            Type::AT_EnableTrig
            | Type::AT_EnableAlwaysTrig
            | Type::AT_EnableReplicaTrig
            | Type::AT_EnableTrigAll
            | Type::AT_EnableTrigUser => {
                self.does(
                    "enable trigger",
                    Effect::Alter,
                    named_on(ObjectKind::Trigger, name, &object),
                );
                return Ok(());
            }
            Type::AT_DisableTrig | Type::AT_DisableTrigAll | Type::AT_DisableTrigUser => {
                self.does(
                    "disable trigger",
                    Effect::Alter,
                    named_on(ObjectKind::Trigger, name, &object),
                );
                return Ok(());
            }
            Type::AT_EnableRule | Type::AT_EnableAlwaysRule | Type::AT_EnableReplicaRule => {
                self.does("enable rule", Effect::Alter, named_on(ObjectKind::Rule, name, &object));
                return Ok(());
            }
            Type::AT_DisableRule => {
                self.does("disable rule", Effect::Alter, named_on(ObjectKind::Rule, name, &object));
                return Ok(());
            }
            Type::AT_EnableRowSecurity => {
                self.does_only("enable row level security", Effect::Alter, object);
                return Ok(());
            }
            Type::AT_DisableRowSecurity => {
                self.does_only("disable row level security", Effect::Alter, object);
                return Ok(());
            }
            Type::AT_ForceRowSecurity => {
                self.does_only("force row level security", Effect::Alter, object);
                return Ok(());
            }
            Type::AT_NoForceRowSecurity => {
                self.does_only("no force row level security", Effect::Alter, object);
                return Ok(());
            }
            Type::AT_AddInherit | Type::AT_DropInherit => {
                let Node::RangeVar(parent) = command.def() else { return Err(unknown()) };
                let (_, _, parent) = self.target_there(Some(parent))?;
                self.alters(parent);
            }
            Type::AT_AttachPartition
            | Type::AT_DetachPartition
            | Type::AT_DetachPartitionFinalize => {
                let Node::PartitionCmd(partition) = command.def() else { return Err(unknown()) };
                self.see(partition);
                let (_, child_number, child) = self.target_there(partition.name())?;
                self.alters(child);
                if let (Some(parent), Type::AT_AttachPartition) = (host.number, command.subtype) {
                    self.take_partition_key(parent, Some(child_number));
                }
                if let Some(bound) = partition.bound() {
                    self.bound(bound)?;
                }
                self.facts.outside_transaction |= partition.concurrent;
            }
            Type::AT_AddOf | Type::AT_ReplicaIdentity => self.see_all(command.def())?,
            Type::AT_SetRelOptions
            | Type::AT_ResetRelOptions
            | Type::AT_ReplaceRelOptions
            | Type::AT_GenericOptions => self.see_all(command.def())?,
            Type::AT_ClusterOn
            | Type::AT_DropCluster
            | Type::AT_SetLogged
            | Type::AT_SetUnLogged
            | Type::AT_DropOids
            | Type::AT_SetAccessMethod
            | Type::AT_SetTableSpace
            | Type::AT_DropOf => {}
            // What only the server itself makes of a command.
            _ => return Err(unknown()),
        }
        let name = object.kind.alter();
        self.does(name, effect, object);
        if effect == Effect::Drop {
            self.cascades(command.behavior);
        }
        Ok(())
    }

    fn column_of(&self, object: &mut Object, command: &AlterTableCmd, host: Host<'w>) -> Walked {
        let name = command.name().unwrap_or_default();
        // It may be one that is added beside it.
        let items = &self.scope(host.scope)?.items;
        let in_sight = items.iter().any(|item| self.column_in(item, name).is_some());
        self.about_column(object, name, in_sight || command.missing_ok)
    }
}

fn unknown() -> NotUnderstood {
    NotUnderstood::Construct("ALTER TABLE")
}
