//! How much of everything there may be, and how long it is kept.

/// Requests of one identity that wait for a person at once.
pub const REQUESTS_PENDING_MAX: usize = 16;
/// Requests that one identity makes within any hour, whatever becomes of them.
pub const REQUESTS_PER_HOUR_MAX: usize = 120;
/// Grants that one identity opens on one connection within any hour.
pub const GRANTS_PER_HOUR_MAX: usize = 1200;
/// Statements of one grant that wait for a person at once.
pub const HOLDS_PENDING_MAX: usize = 64;
/// Statements of one grant that are held in all its life, uses of a shape included.
pub const HOLDS_PER_GRANT_MAX: usize = 10_000;
/// Logins of one identity at a provider whose answers count once, within any hour; and tokens of such
/// logins that open at once.
pub const LOGINS_PER_HOUR_MAX: usize = 120;
pub const LOGIN_TOKENS_MAX: usize = 16;
/// Uses of one approval for a statement with other parameters.
pub const SHAPE_USES_MAX: u32 = 1000;
/// Approvals that one thing needs (one for each rule or policy), and people for one of them.
pub const NEEDED_MAX: usize = 16;
pub const PEOPLE_MAX: u32 = 16;
/// Policies of one grant.
pub const POLICIES_MAX: usize = 256;

pub const REASON_BYTES_MAX: usize = 4 << 10;
pub const WORDS_BYTES_MAX: usize = 4 << 10;
pub const SCOPE_BYTES_MAX: usize = 64 << 10;
pub const IDENTITY_BYTES_MAX: usize = 64 << 10;
pub const BY_BYTES_MAX: usize = 16 << 10;
/// A name: of a connection, a policy, a rule, a session, a node.
pub const NAME_BYTES_MAX: usize = 1 << 10;
/// Of a statement that people are asked about. They read it, and a page of them is in memory at once.
pub const STATEMENT_BYTES_MAX: usize = 256 << 10;
pub const PARAMETERS_BYTES_MAX: usize = 256 << 10;
pub const ESTIMATE_BYTES_MAX: usize = 64 << 10;

/// No grant, request, hold or approval lasts longer: 31 days.
pub const LASTS_MILLIS_MAX: i64 = 31 * 24 * 3_600_000;

/// What has ended is kept for a week, for those who look; the journal keeps it for good.
pub const ENDED_KEPT_MILLIS: i64 = 7 * 24 * 3_600_000;

/// Rows of one page of a list.
pub const PAGE_ROWS_MAX: usize = 200;

/// Rows that one call of `expire_due` brings to their end, and that it forgets.
pub const DUE_ROWS_MAX: usize = 200;
