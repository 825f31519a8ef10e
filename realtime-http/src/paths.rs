use matchit::InsertError;
use realtime_core::{Error, Result};

/// Checks that the paths of routes, each with the provider's name, are in the syntax of
/// [`axum::Router::route`] (`/a/{b}`), and that no two conflict: axum itself would panic.
///
/// # Errors
/// [`Error::Config`] that names the provider and the path.
pub fn check_paths<I, P>(paths: I) -> Result<()>
where
    I: IntoIterator<Item = (&'static str, P)>,
    P: Into<String>,
{
    let mut router = matchit::Router::new();
    let mut owners = Vec::new();
    for (provider, path) in paths {
        let path = path.into();
        let wrong = |reason: String| {
            Err(Error::Config(format!("path of the provider \"{provider}\": \"{}\": {reason}", path.escape_debug())))
        };
        if !path.starts_with('/') {
            return wrong("it does not begin with a slash".to_owned());
        }
        if path.split('/').any(|segment| segment.starts_with([':', '*'])) {
            return wrong("a segment begins with \":\" or \"*\"; captures are written \"{name}\"".to_owned());
        }
        match router.insert(&path, ()) {
            Ok(()) => owners.push((path, provider)),
            Err(InsertError::Conflict { with }) => {
                let owner = owners.iter().find(|(path, _)| *path == with).map_or(provider, |(_, owner)| owner);
                return wrong(format!(
                    "conflicts with {with:?} of the provider \"{owner}\", which takes the same requests: give one of \
                     them another path by with_path(…)"
                ));
            }
            Err(error) => return wrong(error.to_string()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(paths: &[&str]) -> Option<String> {
        check_paths(paths.iter().map(|path| ("sse", *path))).err().map(|error| error.to_string())
    }

    #[test]
    fn paths_that_panic_in_axum_are_rejected_by_name() {
        for path in ["", "sse", "/{a", "/a}", "/:a", "/*a", "/{a}b{c}", "/{*a}/b", "/{}"] {
            let error = refused(&[path]).unwrap_or_else(|| panic!("{path:?} is accepted"));
            assert!(error.contains(&format!("path of the provider \"sse\": \"{path}\"")), "{error}");
        }
    }

    #[test]
    fn paths_that_axum_accepts_are_accepted() {
        for path in ["/", "/sse", "/{tenant}/sse", "/a/{*rest}", "/räume"] {
            assert_eq!(refused(&[path]), None, "{path:?}");
            let _ = axum::Router::<()>::new().route(path, axum::routing::get(async || ()));
        }
        assert_eq!(refused(&["/sse", "/ws", "/socket.io", "/socket.io/"]), None);
    }

    #[test]
    fn conflicting_paths_are_rejected() {
        for paths in [["/a", "/a"], ["/{a}", "/{b}"], ["/a/{*b}", "/a/{*c}"]] {
            let error = check_paths([("sse", paths[0]), ("ws", paths[1])]).unwrap_err().to_string();
            for said in ["\"sse\"", "\"ws\"", paths[0], paths[1], "with_path"] {
                assert!(error.contains(said), "{said} {error}");
            }
        }
    }
}
