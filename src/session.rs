//! The whole job in one call: resolve, list, select, plan, fetch, verify.
