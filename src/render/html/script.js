"use strict";
(() => {
  const table = document.getElementById("matrix");
  const body = table.tBodies[0];
  const rows = Array.from(body.rows);
  const value = (row, at) => row.cells[at].dataset.sort ?? row.cells[at].textContent;
  Array.from(table.tHead.rows[0].cells).forEach((head, at) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const numbers = at > 1;
      const order = (a, b) => numbers ? Number(value(a, at)) - Number(value(b, at)) : value(a, at).localeCompare(value(b, at));
      body.append(...rows.sort((a, b) => up ? order(a, b) : order(b, a)));
    });
  });
  const form = document.getElementById("filter");
  const text = document.getElementById("text");
  const tone = document.getElementById("tone");
  const count = document.getElementById("count");
  const pairs = rows.map((row) => [row, document.getElementById(row.cells[0].firstElementChild.getAttribute("href").slice(1))]);
  const show = () => {
    const wanted = text.value.toLowerCase();
    let shown = 0;
    for (const [row, section] of pairs) {
      const fits = (row.textContent + section.textContent).toLowerCase().includes(wanted)
        && (tone.value === "" || row.dataset.tone === tone.value);
      row.hidden = section.hidden = !fits;
      shown += fits ? 1 : 0;
    }
    count.value = `${shown} of ${pairs.length} shown`;
  };
  form.addEventListener("submit", (event) => event.preventDefault());
  text.addEventListener("input", show);
  tone.addEventListener("change", show);
  form.hidden = false;
  show();
  // A link to a repo shows what is in it.
  const open = () => {
    const section = document.getElementById(location.hash.slice(1));
    section?.querySelector("details")?.setAttribute("open", "");
  };
  addEventListener("hashchange", open);
  open();
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = Array.from(document.querySelectorAll("section > details:not([open])"));
    for (const one of closed) one.open = true;
  });
  addEventListener("afterprint", () => { for (const one of closed) one.open = false; });
})();
