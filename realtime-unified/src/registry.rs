use std::any::Any;
use std::sync::Arc;

use realtime_core::spi::check_name;
use realtime_core::{Error, RealtimeProvider, Result};
use realtime_http::HttpProvider;
use realtime_http::spi::check_paths;

use crate::ticket::TICKET;

/// The providers of a service, in the order they were added.
#[derive(Clone, Default)]
pub(crate) struct Registry {
    entries: Vec<Entry>,
}

#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) provider: Arc<dyn RealtimeProvider>,
    /// Set for providers that have routes.
    pub(crate) http: Option<Arc<dyn HttpProvider>>,
    /// The same provider, for [`Registry::find_as`].
    typed: Option<Arc<dyn Any + Send + Sync>>,
}

/// The names that come with a feature of this crate, the feature, and `true` if this build has it.
const FEATURES: [(&str, &str, bool); 3] = [
    ("socket", "socketio", cfg!(feature = "socketio")),
    ("sse", "sse", cfg!(feature = "sse")),
    ("ws", "ws", cfg!(feature = "ws")),
];

/// The name that the feature and the crate suggest, and the provider's name.
const ALIAS: (&str, &str) = ("socketio", "socket");

impl Entry {
    pub(crate) fn http(provider: impl HttpProvider) -> Self {
        let provider = Arc::new(provider);
        Self { provider: Arc::clone(&provider) as _, http: Some(Arc::clone(&provider) as _), typed: Some(provider) }
    }

    pub(crate) fn custom(provider: Arc<dyn RealtimeProvider>) -> Self {
        Self { provider, http: None, typed: None }
    }

    pub(crate) fn name(&self) -> &'static str {
        self.provider.name()
    }
}

impl Registry {
    /// Creates a registry; checks the providers' names, and that no two have the same.
    pub(crate) fn new(entries: Vec<Entry>) -> Result<Self> {
        for (at, entry) in entries.iter().enumerate() {
            check_name("provider", entry.name()).map_err(|error| Error::Config(error.to_string()))?;
            if entries[..at].iter().any(|earlier| earlier.name() == entry.name()) {
                return Err(Error::Config(format!("two providers are named \"{}\"", entry.name())));
            }
        }
        Ok(Self { entries })
    }

    /// Checks every provider's configuration, and that no two have routes that conflict, nor one of
    /// them and the tickets.
    pub(crate) fn check(&self, tickets: Option<&str>) -> Result<()> {
        for entry in self.iter() {
            entry.provider.check().map_err(|error| match error {
                Error::Config(text) if !text.contains(&quoted(entry.name())) => {
                    Error::Config(format!("provider {}: {text}", quoted(entry.name())))
                }
                error => error,
            })?;
        }
        let paths = self.iter().filter_map(|entry| Some((entry.name(), entry.http.as_ref()?.paths())));
        let paths = paths.flat_map(|(name, paths)| paths.into_iter().map(move |path| (name, path)));
        check_paths(paths.chain(tickets.map(|path| (TICKET, path.to_owned()))))
    }

    /// Logs what runs: where a reader looks why a client is rejected.
    pub(crate) fn log_start(&self, policy: &'static str) {
        let describe = |entry: &Entry| {
            let Some(http) = &entry.http else { return entry.name().to_owned() };
            let origins = http.origins().map_or(String::new(), |origins| format!(" (pages: {})", origins.get()));
            format!("{} at {}{origins}", entry.name(), http.paths().join(" and "))
        };
        let providers: Vec<_> = self.iter().map(describe).collect();
        tracing::info!(providers = providers.join("; "), room_policy = policy, "notification service built");
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    pub(crate) fn find(&self, name: &str) -> Result<&Arc<dyn RealtimeProvider>> {
        self.entry(name).map(|entry| &entry.provider).ok_or_else(|| self.unknown(name))
    }

    /// Returns the name under which a provider is known: "socketio" is an alias of "socket".
    pub(crate) fn resolve<'a>(&self, name: &'a str) -> &'a str {
        if name == ALIAS.0 && self.iter().all(|entry| entry.name() != name) { ALIAS.1 } else { name }
    }

    fn entry(&self, name: &str) -> Option<&Entry> {
        let name = self.resolve(name);
        self.iter().find(|entry| entry.name() == name)
    }

    pub(crate) fn find_as<P: HttpProvider>(&self, name: &str) -> Result<Arc<P>> {
        let entry = self.entry(name);
        let typed = entry.and_then(|entry| Arc::clone(entry.typed.as_ref()?).downcast::<P>().ok());
        typed.ok_or_else(|| self.unknown(name))
    }

    fn unknown(&self, name: &str) -> Error {
        let known_as = self.resolve(name);
        match FEATURES.iter().find(|(known, _, on)| *known == known_as && !on) {
            Some((_, feature, _)) => Error::FeatureOff { provider: name.to_owned(), feature },
            None => Error::UnknownProvider {
                name: name.to_owned(),
                registered: self.iter().map(|entry| entry.name().to_owned()).collect(),
            },
        }
    }
}

fn quoted(name: &str) -> String {
    format!("\"{name}\"")
}
