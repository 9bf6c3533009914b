//! Commands that aren't queries, writes or session commands: which one it is, and what it does
//! with which objects. Those about relations are in `table`, functions and types in `define`.

use pg_raw_parse::Node;
use pg_raw_parse::nodes::{
    ClusterStmt, DropBehavior, DropStmt, GrantStmt, ObjectType, PublicationObjSpec,
    PublicationObjSpecType, ReindexObjectType, ReindexStmt, RenameStmt, VacuumStmt,
};

use super::object::{kind_of, list, named_on};
use super::setting::{Stay, is_off};
use super::{Walk, Walked};
use crate::catalog::{RelationKind, Step};
use crate::facts::{CommandUse, Effect, NotUnderstood, Object, ObjectKind};
use crate::nodes::grants_relations;

impl<'w> Walk<'w> {
    /// Walks a command; gives PostgreSQL's own name for it.
    pub(super) fn command(&mut self, node: Node<'w>) -> Walked<&'static str> {
        Ok(match node {
            Node::VacuumStmt(vacuum) => self.vacuum(vacuum)?,
            Node::ClusterStmt(cluster) => self.cluster(cluster)?,
            Node::ReindexStmt(reindex) => self.reindex(reindex)?,
            Node::RefreshMatViewStmt(refresh) => {
                let object = self.maintained(Node::from(refresh.relation()))?;
                self.maintains("refresh materialized view", Some(object))
            }
            Node::DoStmt(code) => {
                self.see_texts(code.args().iter())?;
                self.does_only("do", Effect::Other, None);
                self.code("do")
            }
            Node::CheckPointStmt(_) => {
                self.facts.outside_transaction = true;
                self.other("checkpoint", None)
            }
            Node::LoadStmt(_) => {
                self.facts.outside_transaction = true;
                self.other("load", None);
                self.code("load")
            }
            Node::ConstraintsSetStmt(set) => {
                self.see_texts(set.constraints().iter())?;
                "set constraints"
            }
            Node::AlterSystemStmt(alter) => {
                let set = alter.setstmt().ok_or(NotUnderstood::Construct("ALTER SYSTEM"))?;
                self.set(set, Stay::Stored)?;
                self.facts.outside_transaction = true;
                self.other("alter system", None)
            }

            Node::CreateStmt(create) => self.create_table(create)?,
            Node::AlterTableStmt(alter) => self.alter_table(alter)?,
            Node::AlterTableMoveAllStmt(all) => {
                for role in all.roles() {
                    self.see_all(role)?;
                }
                let from = Self::global(ObjectKind::Tablespace, all.orig_tablespacename());
                self.does_only("alter table all in tablespace", Effect::Alter, from);
                "alter table all in tablespace"
            }
            Node::ViewStmt(view) => self.create_view(view)?,
            Node::IndexStmt(index) => self.create_index(index)?,
            Node::CreateSeqStmt(create) => {
                let range = create.sequence().ok_or(NotUnderstood::Construct("SEQUENCE"))?;
                let object = self.new_relation(range, ObjectKind::Sequence)?;
                let schema = self.schema_of_new(&object);
                let made = object.name.clone();
                let name = self.creates(object);
                self.change.known();
                let is_there = create.if_not_exists && self.is_there(&schema, &made);
                self.change.step(Step::AddSequence { schema, name: Some(made) });
                self.sequence_options(create.options().iter())?;
                if is_there {
                    self.change.nothing();
                }
                name
            }
            Node::AlterSeqStmt(alter) => {
                let (_, object) = self.target_of_command(
                    alter.sequence(),
                    ObjectKind::Sequence,
                    alter.missing_ok,
                )?;
                self.alters_sequence(&object);
                let name = self.alters(object);
                self.sequence_options(alter.options().iter())?;
                name
            }
            Node::CreateStatsStmt(create) => self.create_statistics(create)?,
            Node::AlterStatsStmt(alter) => {
                let names = self.names(alter.defnames().iter())?;
                self.see_all(alter.stxstattarget())?;
                let object = self.statistics_object(&names, alter.missing_ok)?;
                self.alters(object)
            }
            Node::CreateTrigStmt(trigger) => self.create_trigger(trigger)?,
            Node::RuleStmt(rule) => self.create_rule(rule)?,
            Node::CreatePolicyStmt(policy) => {
                let (range, number, table) = self.target_there(policy.table())?;
                let scope = self.scope_of_target(range, number)?;
                self.expressions([policy.qual(), policy.with_check()], scope);
                self.see_texts(policy.roles().iter())?;
                let name = policy.policy_name().unwrap_or_default();
                self.creates(named_on(ObjectKind::Policy, name, &table))
            }
            Node::AlterPolicyStmt(policy) => {
                let (range, number, table) = self.target_there(policy.table())?;
                let scope = self.scope_of_target(range, number)?;
                self.expressions([policy.qual(), policy.with_check()], scope);
                self.see_texts(policy.roles().iter())?;
                let name = policy.policy_name().unwrap_or_default();
                self.alters(named_on(ObjectKind::Policy, name, &table))
            }

            Node::CreateSchemaStmt(create) => self.create_schema(create)?,
            Node::DropStmt(drop) => self.drop_objects(drop)?,
            Node::RenameStmt(rename) => self.rename_object(rename)?,
            Node::AlterObjectSchemaStmt(alter) => {
                let object = self.object_or_relation(
                    alter.object_type,
                    Node::from(alter.relation()),
                    alter.object(),
                    alter.missing_ok,
                )?;
                let schema = self.home_named(alter.newschema().unwrap_or_default());
                let moved = Object { relation: None, schema: Some(schema), ..object.clone() };
                let moved = Object { twice: false, ..moved };
                // Where it comes to, it is new; an extension lives in none.
                let lives_there = object.kind != ObjectKind::Extension;
                let name = self.alters(object);
                if lives_there {
                    self.creates(moved);
                }
                name
            }
            Node::AlterOwnerStmt(alter) => {
                let object = self.object_or_relation(
                    alter.object_type,
                    Node::from(alter.relation()),
                    alter.object(),
                    false,
                )?;
                self.role(alter.newowner());
                self.does_only("alter owner", Effect::Alter, object);
                "alter owner"
            }
            Node::AlterObjectDependsStmt(alter) => {
                let object = match alter.object_type {
                    ObjectType::OBJECT_TRIGGER => {
                        let (_, _, table) = self.target_there(alter.relation())?;
                        let names = self.names_of(alter.object())?;
                        named_on(ObjectKind::Trigger, &names.join("."), &table)
                    }
                    kind => self.object_or_relation(
                        kind,
                        Node::from(alter.relation()),
                        alter.object(),
                        false,
                    )?,
                };
                if let Some(extension) = alter.extname() {
                    self.see(extension);
                }
                let name = object.kind.alter();
                self.does_only(name, Effect::Alter, object);
                name
            }
            Node::CommentStmt(comment) => {
                let object = self.object(comment.objtype, comment.object(), false)?;
                self.does("comment", Effect::Comment, object);
                "comment"
            }
            Node::SecLabelStmt(label) => {
                let object = self.object(label.objtype, label.object(), false)?;
                self.other("security label", object)
            }

            Node::GrantStmt(grant) => self.grant(grant)?,
            Node::AlterDefaultPrivilegesStmt(alter) => {
                self.see_texts(alter.options().iter())?;
                if let Some(grant) = alter.action() {
                    self.see_all(grant)?;
                }
                self.other("alter default privileges", None)
            }
            Node::GrantRoleStmt(grant) => {
                let name = if grant.is_grant { "grant role" } else { "revoke role" };
                self.see_texts(grant.opt().iter())?;
                self.see(grant.grantor());
                self.see_texts(grant.grantee_roles().iter())?;
                for role in grant.granted_roles() {
                    self.see_all(role)?;
                    let Node::AccessPriv(role) = role else {
                        return Err(NotUnderstood::Construct("GRANT"));
                    };
                    self.other(name, Self::global(ObjectKind::Role, role.priv_name()));
                }
                name
            }
            Node::CreateRoleStmt(create) => {
                self.see_texts(create.options().iter())?;
                self.creates(Self::global(ObjectKind::Role, create.role()))
            }
            Node::AlterRoleStmt(alter) => {
                self.see_texts(alter.options().iter())?;
                let role = self.role(alter.role());
                self.alters(role)
            }
            Node::AlterRoleSetStmt(alter) => {
                let role = self.role(alter.role());
                let set = alter.setstmt().ok_or(NotUnderstood::Construct("ALTER ROLE"))?;
                self.set(set, Stay::Stored)?;
                self.alters(role)
            }
            Node::DropRoleStmt(drop) => {
                for role in drop.roles() {
                    let Node::RoleSpec(role) = role else {
                        return Err(NotUnderstood::Construct("DROP ROLE"));
                    };
                    let role = self.role(Some(role));
                    self.does("drop role", Effect::Drop, role);
                }
                "drop role"
            }
            Node::DropOwnedStmt(drop) => {
                self.owned("drop owned", Effect::Drop, drop.roles().iter())?;
                self.cascades(drop.behavior);
                "drop owned"
            }
            Node::ReassignOwnedStmt(reassign) => {
                self.owned("reassign owned", Effect::Alter, reassign.roles().iter())?;
                self.role(reassign.newrole());
                "reassign owned"
            }

            Node::CreatedbStmt(create) => {
                self.see_texts(create.options().iter())?;
                self.facts.outside_transaction = true;
                self.creates(Self::global(ObjectKind::Database, create.dbname()))
            }
            Node::AlterDatabaseStmt(alter) => {
                self.see_texts(alter.options().iter())?;
                // Only to move it can't be taken back.
                self.facts.outside_transaction =
                    Self::option(alter.options().iter(), "tablespace").is_some();
                self.alters(Self::global(ObjectKind::Database, alter.dbname()))
            }
            Node::AlterDatabaseRefreshCollStmt(alter) => {
                self.alters(Self::global(ObjectKind::Database, alter.dbname()))
            }
            Node::AlterDatabaseSetStmt(alter) => {
                let set = alter.setstmt().ok_or(NotUnderstood::Construct("ALTER DATABASE"))?;
                self.set(set, Stay::Stored)?;
                self.alters(Self::global(ObjectKind::Database, alter.dbname()))
            }
            Node::DropdbStmt(drop) => {
                self.see_texts(drop.options().iter())?;
                self.facts.outside_transaction = true;
                self.drops(Self::global(ObjectKind::Database, drop.dbname()))
            }
            Node::CreateTableSpaceStmt(create) => {
                self.see_texts(create.options().iter())?;
                self.role(create.owner());
                self.facts.outside_transaction = true;
                self.creates(Self::global(ObjectKind::Tablespace, create.tablespacename()))
            }
            Node::AlterTableSpaceOptionsStmt(alter) => {
                self.see_texts(alter.options().iter())?;
                self.alters(Self::global(ObjectKind::Tablespace, alter.tablespacename()))
            }
            Node::DropTableSpaceStmt(drop) => {
                self.facts.outside_transaction = true;
                self.drops(Self::global(ObjectKind::Tablespace, drop.tablespacename()))
            }

            Node::CreateExtensionStmt(create) => {
                self.see_texts(create.options().iter())?;
                self.creates(Self::global(ObjectKind::Extension, create.extname()));
                self.code("create extension")
            }
            Node::AlterExtensionStmt(alter) => {
                self.see_texts(alter.options().iter())?;
                self.alters(Self::global(ObjectKind::Extension, alter.extname()));
                self.code("alter extension")
            }
            Node::AlterExtensionContentsStmt(alter) => {
                let object = self.object(alter.objtype, alter.object(), false)?;
                self.does_only("alter extension", Effect::Alter, object);
                self.alters(Self::global(ObjectKind::Extension, alter.extname()))
            }
            Node::CreatePLangStmt(create) => {
                for names in [create.plhandler(), create.plinline(), create.plvalidator()] {
                    if !names.is_empty() {
                        self.calls_later(names.iter(), None)?;
                    }
                }
                self.creates(Self::global(ObjectKind::Language, create.plname()))
            }
            Node::CreateEventTrigStmt(create) => {
                self.see_texts(create.whenclause().iter())?;
                self.calls_later(create.funcname().iter(), Some(0))?;
                self.creates(Self::global(ObjectKind::EventTrigger, create.trigname()))
            }
            Node::AlterEventTrigStmt(alter) => {
                self.alters(Self::global(ObjectKind::EventTrigger, alter.trigname()))
            }

            Node::CreateFdwStmt(create) => {
                self.see_texts(create.options().iter())?;
                self.handlers(create.func_options().iter())?;
                self.creates(Self::global(ObjectKind::ForeignDataWrapper, create.fdwname()))
            }
            Node::AlterFdwStmt(alter) => {
                self.see_texts(alter.options().iter())?;
                self.handlers(alter.func_options().iter())?;
                self.alters(Self::global(ObjectKind::ForeignDataWrapper, alter.fdwname()))
            }
            Node::CreateForeignServerStmt(create) => {
                self.see_texts(create.options().iter())?;
                self.creates(Self::global(ObjectKind::Server, create.servername()))
            }
            Node::AlterForeignServerStmt(alter) => {
                self.see_texts(alter.options().iter())?;
                self.alters(Self::global(ObjectKind::Server, alter.servername()))
            }
            Node::CreateUserMappingStmt(create) => {
                self.see_texts(create.options().iter())?;
                self.see(create.user());
                self.creates(Self::global(ObjectKind::UserMapping, create.servername()))
            }
            Node::AlterUserMappingStmt(alter) => {
                self.see_texts(alter.options().iter())?;
                self.see(alter.user());
                self.alters(Self::global(ObjectKind::UserMapping, alter.servername()))
            }
            Node::DropUserMappingStmt(drop) => {
                self.see(drop.user());
                self.drops(Self::global(ObjectKind::UserMapping, drop.servername()))
            }
            Node::ImportForeignSchemaStmt(import) => {
                // Its tables are named as the other side calls them.
                self.see_texts(import.table_list().iter())?;
                self.see_texts(import.options().iter())?;
                let schema = Self::global(ObjectKind::Schema, import.local_schema());
                self.does_only("import foreign schema", Effect::Create, schema);
                self.does_only(
                    "import foreign schema",
                    Effect::Other,
                    Self::global(ObjectKind::Server, import.server_name()),
                );
                "import foreign schema"
            }

            Node::CreatePublicationStmt(create) => {
                self.see_texts(create.options().iter())?;
                for object in create.pubobjects() {
                    let Node::PublicationObjSpec(object) = object else {
                        return Err(NotUnderstood::Construct("PUBLICATION"));
                    };
                    self.published(object, "create publication", Effect::Create)?;
                }
                self.creates(Self::global(ObjectKind::Publication, create.pubname()))
            }
            Node::AlterPublicationStmt(alter) => {
                self.see_texts(alter.options().iter())?;
                for object in alter.pubobjects() {
                    let Node::PublicationObjSpec(object) = object else {
                        return Err(NotUnderstood::Construct("PUBLICATION"));
                    };
                    self.published(object, "alter publication", Effect::Alter)?;
                }
                self.alters(Self::global(ObjectKind::Publication, alter.pubname()))
            }
            // These reach another server.
            Node::CreateSubscriptionStmt(create) => {
                self.see_texts(create.publication().iter())?;
                self.see_texts(create.options().iter())?;
                self.facts.outside_transaction = true;
                self.creates(Self::global(ObjectKind::Subscription, create.subname()))
            }
            Node::AlterSubscriptionStmt(alter) => {
                self.see_texts(alter.publication().iter())?;
                self.see_texts(alter.options().iter())?;
                self.facts.outside_transaction = true;
                self.alters(Self::global(ObjectKind::Subscription, alter.subname()))
            }
            Node::DropSubscriptionStmt(drop) => {
                self.facts.outside_transaction = true;
                let name = self.drops(Self::global(ObjectKind::Subscription, drop.subname()));
                self.cascades(drop.behavior);
                name
            }

            node => self.definition(node)?,
        })
    }

    /// It carries what can't be read here.
    pub(super) fn code(&mut self, name: &'static str) -> &'static str {
        self.facts.opaque = Some(name);
        name
    }

    /// Neither made nor altered nor dropped, and never by a group.
    pub(super) fn other(
        &mut self,
        name: &'static str,
        object: impl Into<Option<Object>>,
    ) -> &'static str {
        self.does_only(name, Effect::Other, object);
        name
    }

    fn drops(&mut self, object: Object) -> &'static str {
        let name = object.kind.drop();
        self.does(name, Effect::Drop, object);
        name
    }

    /// Upkeep of one relation, of a schema, or of all there is.
    fn maintains(&mut self, name: &'static str, object: Option<Object>) -> &'static str {
        self.facts.commands.push(CommandUse {
            name,
            effect: Effect::Maintain,
            named_only: false,
            object,
            cascade: false,
        });
        name
    }

    fn maintained(&mut self, node: Node<'w>) -> Walked<Object> {
        let Node::RangeVar(range) = node else {
            return Err(NotUnderstood::Construct("name of a relation"));
        };
        let (_, number, object) = self.target_there(Some(range))?;
        if let Some(used) = self.facts.relations.get_mut(number) {
            used.maintain = true;
        }
        Ok(object)
    }

    fn vacuum(&mut self, vacuum: &'w VacuumStmt) -> Walked<&'static str> {
        let mut name = if vacuum.is_vacuumcmd { "vacuum" } else { "analyze" };
        for option in vacuum.options() {
            self.see_all(option)?;
            if option.defname() == Some("full") {
                name = if is_off(option) { "vacuum" } else { "vacuum full" };
            }
        }
        self.facts.outside_transaction = vacuum.is_vacuumcmd;
        if vacuum.rels().is_empty() {
            return Ok(self.maintains(name, None));
        }
        for relation in vacuum.rels() {
            self.see(relation);
            let mut object = self.maintained(Node::from(relation.relation()))?;
            Self::few(relation.va_cols().len())?;
            for column in relation.va_cols() {
                self.see(column);
                self.about_column(&mut object, column.as_str().unwrap_or_default(), false)?;
            }
            self.maintains(name, Some(object));
        }
        Ok(name)
    }

    fn cluster(&mut self, cluster: &'w ClusterStmt) -> Walked<&'static str> {
        self.see_texts(cluster.params().iter())?;
        let object = match cluster.relation() {
            None => {
                self.facts.outside_transaction = true;
                None
            }
            Some(range) => {
                let object = self.maintained(Node::from(range))?;
                self.facts.outside_transaction = self.is_partitioned(&object);
                Some(object)
            }
        };
        Ok(self.maintains("cluster", object))
    }

    fn is_partitioned(&self, object: &Object) -> bool {
        let relation = object.relation.and_then(|id| self.catalog.relation(id));
        relation.is_some_and(|relation| relation.kind == RelationKind::Partitioned)
    }

    fn reindex(&mut self, reindex: &'w ReindexStmt) -> Walked<&'static str> {
        self.see_texts(reindex.params().iter())?;
        let concurrently = Self::option(reindex.params().iter(), "concurrently");
        self.facts.outside_transaction = concurrently.is_some_and(|option| !is_off(option));
        let object = match reindex.kind {
            ReindexObjectType::REINDEX_OBJECT_INDEX | ReindexObjectType::REINDEX_OBJECT_TABLE => {
                let object = self.maintained(Node::from(reindex.relation()))?;
                self.facts.outside_transaction |= self.is_partitioned(&object);
                Some(object)
            }
            ReindexObjectType::REINDEX_OBJECT_SCHEMA => {
                self.facts.outside_transaction = true;
                let schema = self.home_named(reindex.name().unwrap_or_default());
                Some(Self::global(ObjectKind::Schema, Some(&schema)))
            }
            ReindexObjectType::REINDEX_OBJECT_SYSTEM
            | ReindexObjectType::REINDEX_OBJECT_DATABASE => {
                self.facts.outside_transaction = true;
                None
            }
            _ => return Err(NotUnderstood::Construct("REINDEX")),
        };
        Ok(self.maintains("reindex", object))
    }

    fn object_or_relation(
        &mut self,
        kind: ObjectType::Type,
        relation: Node<'w>,
        object: Node<'w>,
        missing_ok: bool,
    ) -> Walked<Object> {
        match relation {
            Node::RangeVar(range) => {
                Ok(self.target_of_command(Some(range), kind_of(kind)?, missing_ok)?.1)
            }
            _ => self.object(kind, object, missing_ok),
        }
    }

    fn drop_objects(&mut self, drop: &'w DropStmt) -> Walked<&'static str> {
        let name = kind_of(drop.remove_type)?.drop();
        self.facts.outside_transaction = drop.concurrent;
        Self::few(drop.objects().len())?;
        for node in drop.objects() {
            let object = self.object(drop.remove_type, node, drop.missing_ok)?;
            self.change.known();
            self.drops_object(&object, drop.behavior == DropBehavior::DROP_CASCADE);
            self.does(name, Effect::Drop, object);
            self.cascades(drop.behavior);
        }
        if drop.concurrent {
            self.change.lost();
        }
        Ok(name)
    }

    fn rename_object(&mut self, rename: &'w RenameStmt) -> Walked<&'static str> {
        let new_name = rename.newname().unwrap_or_default();
        let old_name = rename.subname().unwrap_or_default();
        if let Some(range) = rename.relation() {
            let kind = match rename.rename_type {
                ObjectType::OBJECT_COLUMN
                | ObjectType::OBJECT_ATTRIBUTE
                | ObjectType::OBJECT_TABCONSTRAINT => rename.relation_type,
                ObjectType::OBJECT_POLICY
                | ObjectType::OBJECT_RULE
                | ObjectType::OBJECT_TRIGGER => ObjectType::OBJECT_TABLE,
                kind => kind,
            };
            self.see_all(rename.object())?;
            let (_, mut object) =
                self.target_of_command(Some(range), kind_of(kind)?, rename.missing_ok)?;
            match rename.rename_type {
                ObjectType::OBJECT_COLUMN | ObjectType::OBJECT_ATTRIBUTE => {
                    self.about_column(&mut object, old_name, rename.missing_ok)?;
                    object.new_columns = vec![new_name.to_owned()];
                    self.renames_column(&object, new_name);
                }
                ObjectType::OBJECT_TABCONSTRAINT => self.about_constraint(&mut object, old_name),
                kind @ (ObjectType::OBJECT_POLICY
                | ObjectType::OBJECT_RULE
                | ObjectType::OBJECT_TRIGGER) => {
                    object = named_on(kind_of(kind)?, old_name, &object);
                }
                _ => return Ok(self.renames(object, new_name)),
            }
            return Ok(self.alters(object));
        }
        let object = match rename.object() {
            Node::None => Self::global(kind_of(rename.rename_type)?, rename.subname()),
            object => self.object(rename.rename_type, object, rename.missing_ok)?,
        };
        if rename.rename_type == ObjectType::OBJECT_DOMCONSTRAINT {
            return Ok(self.alters(object));
        }
        Ok(self.renames(object, new_name))
    }

    /// Under its new name it is new.
    fn renames(&mut self, object: Object, new_name: &str) -> &'static str {
        let on = match object.kind {
            ObjectKind::Index | ObjectKind::Statistics => object.relation,
            _ => None,
        };
        self.renames_relation(&object, new_name);
        let renamed = Object { name: new_name.to_owned(), relation: on, ..object.clone() };
        let name = self.alters(object);
        self.creates(renamed);
        name
    }

    fn grant(&mut self, grant: &'w GrantStmt) -> Walked<&'static str> {
        let name = if grant.is_grant { "grant" } else { "revoke" };
        self.see_texts(grant.grantees().iter())?;
        self.see(grant.grantor());
        let mut columns = Vec::new();
        for privilege in grant.privileges() {
            self.see_all(privilege)?;
            columns
                .push(privilege.cols().iter().filter_map(|name| name.sval()).collect::<Vec<_>>());
        }
        // Of columns alone, unless one of the rights is on the whole.
        let named: usize = columns.iter().map(Vec::len).sum();
        Self::few(named.saturating_mul(grant.objects().len()))?;
        let whole = columns.is_empty() || columns.iter().any(Vec::is_empty);
        if !grants_relations(grant) {
            let object = Self::global(kind_of(grant.objtype)?, None);
            return Ok(self.other(name, object));
        }
        for range in grant.objects() {
            let (_, _, mut object) = self.target_there(Some(range))?;
            if !whole {
                for column in columns.iter().flatten() {
                    self.about_column(&mut object, column, false)?;
                }
            }
            self.other(name, object);
        }
        Ok(name)
    }

    fn owned(
        &mut self,
        name: &'static str,
        effect: Effect,
        roles: impl Iterator<Item = Node<'w>>,
    ) -> Walked {
        for role in roles {
            let Node::RoleSpec(role) = role else {
                return Err(NotUnderstood::Construct("OWNED BY"));
            };
            let role = self.role(Some(role));
            self.does_only(name, effect, role);
        }
        Ok(())
    }

    /// HANDLER and VALIDATOR.
    fn handlers(&mut self, options: impl Iterator<Item = Node<'w>>) -> Walked {
        for option in options {
            self.see(option);
            let Node::DefElem(option) = option else {
                return Err(NotUnderstood::Construct("option"));
            };
            if !matches!(option.arg(), Node::None) {
                self.calls_later(list(option.arg()).into_iter(), None)?;
            }
        }
        Ok(())
    }

    fn published(
        &mut self,
        published: &'w PublicationObjSpec,
        name: &'static str,
        effect: Effect,
    ) -> Walked {
        self.see(published);
        if let Some(table) = published.pubtable() {
            self.see(table);
            let (range, number, mut object) = self.target_there(table.relation())?;
            Self::few(table.columns().len())?;
            for column in table.columns() {
                self.see(column);
                self.about_column(&mut object, column.as_str().unwrap_or_default(), false)?;
            }
            let scope = self.scope_of_target(range, number)?;
            self.expressions([table.where_clause()], scope);
            self.does_only(name, effect, object);
            return Ok(());
        }
        let schema = match published.pubobjtype {
            PublicationObjSpecType::PUBLICATIONOBJ_TABLES_IN_CUR_SCHEMA => {
                self.new_object(ObjectKind::Schema, None, "")?.schema.unwrap_or_default()
            }
            _ => self.home_named(published.name().unwrap_or_default()),
        };
        self.does_only(name, effect, Self::global(ObjectKind::Schema, Some(&schema)));
        Ok(())
    }

    fn create_schema(
        &mut self,
        create: &'w pg_raw_parse::nodes::CreateSchemaStmt,
    ) -> Walked<&'static str> {
        let role = create.authrole().map(|role| self.role(Some(role)));
        // Without a name of its own it has the role's.
        let name = match (create.schemaname(), &role) {
            (Some(name), _) => name.to_owned(),
            (None, Some(role)) if role.name == "current_user" || role.name == "current_role" => {
                return Err(NotUnderstood::Construct("CREATE SCHEMA AUTHORIZATION CURRENT_USER"));
            }
            (None, role) => role.as_ref().map(|role| role.name.clone()).unwrap_or_default(),
        };
        let schema = Self::global(ObjectKind::Schema, Some(&name));
        if role.is_some() {
            self.does_only("alter owner", Effect::Alter, schema.clone());
        }
        let done = self.creates(schema);
        let elements = create.schema_elts();
        if role.is_none() && elements.is_empty() {
            self.change.known();
            if !create.if_not_exists || !self.catalog.has_schema(&name) {
                self.change.step(Step::AddSchema(name.clone()));
            }
        } else {
            self.change.lost();
        }
        Self::few(elements.len())?;
        let made = elements.iter().filter_map(|element| match element {
            Node::CreateStmt(create) => create.relation()?.relname(),
            Node::ViewStmt(create) => create.view()?.relname(),
            Node::CreateSeqStmt(create) => create.sequence()?.relname(),
            _ => None,
        });
        self.making = Some((name, made.collect()));
        for element in elements {
            self.see(element);
            match element {
                Node::CreateStmt(_)
                | Node::ViewStmt(_)
                | Node::CreateSeqStmt(_)
                | Node::IndexStmt(_)
                | Node::CreateTrigStmt(_)
                | Node::GrantStmt(_) => self.command(element)?,
                _ => return Err(NotUnderstood::Construct("CREATE SCHEMA")),
            };
        }
        Ok(done)
    }
}
