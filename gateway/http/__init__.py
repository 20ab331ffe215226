"""The edge: routes, bodies in, errors out. Litestar lives here; engines and policies do not."""
