//! The application's database: its own table, and the outbox beside it.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use realtime_unified::BoxError;
use rusqlite::{Connection, OptionalExtension, params};

const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY, user TEXT NOT NULL, item TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS outbox (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        user TEXT NOT NULL,
        event TEXT NOT NULL,
        payload TEXT NOT NULL,
        sent INTEGER NOT NULL DEFAULT 0,
        refused TEXT
    );
    CREATE INDEX IF NOT EXISTS unsent ON outbox (id) WHERE sent = 0;
";

/// The database. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Store(Arc<Mutex<Connection>>);

/// A row of the outbox: an event that has to reach a user.
pub(crate) struct Row {
    pub(crate) id: i64,
    pub(crate) user: String,
    pub(crate) event: String,
    pub(crate) payload: String,
}

impl Store {
    pub(crate) fn open(path: &Path) -> Result<Self, BoxError> {
        let connection = Connection::open(path)?;
        connection.execute_batch(SCHEMA)?;
        Ok(Self(Arc::new(Mutex::new(connection))))
    }

    /// Adds an order and the event about it in one transaction, so that there is either both or
    /// neither; `None` if the item is sold out, which is found out last.
    pub(crate) async fn order(&self, user: String, item: String) -> Result<Option<i64>, BoxError> {
        self.run(move |connection| {
            let transaction = connection.transaction()?;
            transaction.execute("INSERT INTO orders (user, item) VALUES (?1, ?2)", params![user, item])?;
            let order = transaction.last_insert_rowid();
            let payload = serde_json::json!({ "order": order, "item": item }).to_string();
            transaction.execute(
                "INSERT INTO outbox (user, event, payload) VALUES (?1, 'order:paid', ?2)",
                params![user, payload],
            )?;
            if item.starts_with("sold out") {
                transaction.rollback()?;
                return Ok(None);
            }
            transaction.commit()?;
            Ok(Some(order))
        })
        .await
    }

    /// Returns the first row that is not sent.
    pub(crate) async fn next(&self) -> Result<Option<Row>, BoxError> {
        self.run(|connection| {
            let mut next =
                connection.prepare("SELECT id, user, event, payload FROM outbox WHERE sent = 0 ORDER BY id LIMIT 1")?;
            next.query_row([], |row| {
                Ok(Row { id: row.get(0)?, user: row.get(1)?, event: row.get(2)?, payload: row.get(3)? })
            })
            .optional()
        })
        .await
    }

    /// Marks a row as sent, or as one that cannot be sent, with the reason.
    pub(crate) async fn mark(&self, id: i64, refused: Option<String>) -> Result<(), BoxError> {
        self.run(move |connection| {
            connection.execute("UPDATE outbox SET sent = 1, refused = ?2 WHERE id = ?1", params![id, refused]).map(drop)
        })
        .await
    }

    /// Runs a step where it may block.
    async fn run<T: Send + 'static>(
        &self,
        step: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, BoxError> {
        let connection = Arc::clone(&self.0);
        let run = move || step(&mut connection.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(tokio::task::spawn_blocking(run).await??)
    }
}
