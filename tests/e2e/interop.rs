//! The real Python `huggingface_hub` on what we wrote, and we on what it wrote. `.ci/run` makes the
//! virtual environment; without it these tests say that they were skipped.
