//! The transfer engine: bytes from the Hub into the store's partial files, hashed on the way. What
//! the bytes mean lives elsewhere.
