use std::sync::OnceLock;

use redis::{Cmd, Script, ToRedisArgs};

/// The functions that trimming scripts share. The first line makes Redis check memory, role, disk
/// and replicas before it runs the script, so that these errors precede every write.
macro_rules! with_trim {
    ($name:literal) => {
        concat!("#!lua\n", include_str!("scripts/trim.lua"), include_str!(concat!("scripts/", $name, ".lua")))
    };
}

/// The functions that scripts of the directory share, with those that change it.
macro_rules! with_entries {
    ($name:literal) => {
        concat!(
            "#!lua\n",
            include_str!("scripts/leases.lua"),
            include_str!("scripts/entries.lua"),
            include_str!(concat!("scripts/", $name, ".lua"))
        )
    };
}

/// The functions that scripts of the directory share.
macro_rules! with_leases {
    ($name:literal) => {
        concat!(
            "#!lua flags=no-writes\n",
            include_str!("scripts/leases.lua"),
            include_str!(concat!("scripts/", $name, ".lua"))
        )
    };
}

pub(crate) static AGE: Lua = Lua::new(with_trim!("age"));
pub(crate) static APPEND: Lua = Lua::new(with_trim!("append"));
pub(crate) static BEGIN: Lua = Lua::new(include_str!("scripts/begin.lua"));
pub(crate) static COUNT: Lua = Lua::new(with_leases!("count"));
pub(crate) static DROP: Lua = Lua::new(with_entries!("drop"));
pub(crate) static FIND: Lua = Lua::new(with_leases!("find"));
pub(crate) static LOOK: Lua = Lua::new(include_str!("scripts/look.lua"));
pub(crate) static NODES: Lua = Lua::new(with_leases!("nodes"));
pub(crate) static PAGE: Lua = Lua::new(with_leases!("page"));
pub(crate) static REVOKE: Lua = Lua::new(include_str!("scripts/revoke.lua"));
pub(crate) static UPDATE: Lua = Lua::new(with_entries!("update"));

/// A script and its hash, by which Redis knows it once it is loaded.
pub(crate) struct Lua {
    code: &'static str,
    hash: OnceLock<String>,
}

/// A call of a script, and the command that loads it.
pub(crate) struct Call {
    pub(crate) load: Cmd,
    pub(crate) run: Cmd,
}

impl Lua {
    const fn new(code: &'static str) -> Self {
        Self { code, hash: OnceLock::new() }
    }

    /// Creates a call with these keys.
    pub(crate) fn call(&self, keys: &[impl AsRef<str>]) -> Call {
        let hash = self.hash.get_or_init(|| Script::new(self.code).get_hash().to_owned());
        let mut load = redis::cmd("SCRIPT");
        load.arg("LOAD").arg(self.code);
        let mut run = redis::cmd("EVALSHA");
        run.arg(hash.as_str()).arg(keys.len());
        keys.iter().for_each(|key| {
            run.arg(key.as_ref());
        });
        Call { load, run }
    }
}

impl Call {
    /// Adds an argument.
    pub(crate) fn arg(mut self, arg: impl ToRedisArgs) -> Self {
        self.run.arg(arg);
        self
    }
}
