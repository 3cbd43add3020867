// Reading works without this. It reads live pages again, fills the login from the address, and knows a few keys.
"use strict";
(() => {
  const main = document.getElementById("main");

  // A link of the person who started the relay carries the token behind the #, which no browser sends to a server.
  const token = document.getElementById("token");
  if (token && location.hash.startsWith("#token=")) {
    token.value = decodeURIComponent(location.hash.slice(7));
    history.replaceState(null, "", location.pathname + location.search);
    document.getElementById("name").focus();
  }

  const every = Number(document.body.dataset.live || 0) * 1000;
  const live = document.getElementById("live");
  const notice = document.createElement("span");
  if (live) live.after(notice);
  // Rows must not move under a pointer, nor lose the focus or what is being selected: the page waits then, and says so.
  function busy() {
    const why = document.hidden ? "it is hidden" : main.querySelector("tbody tr:hover, .tiles a:hover") ? "the pointer is on a row"
      : main.querySelector(":focus") ? "something on it has the focus" : String(getSelection()) !== "" ? "text is selected" : "";
    notice.textContent = why && ` Not read again while ${why}. `;
    return why !== "";
  }
  let reading = false;
  async function refresh() {
    if (reading || busy()) return;
    reading = true;
    try {
      const answer = await fetch(location.pathname + location.search, { headers: { Accept: "text/html" } });
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      const content = fresh.getElementById("main");
      if (!content || busy()) return;
      main.replaceChildren(...content.childNodes);
      const at = fresh.getElementById("live");
      if (at) live.replaceChildren(...at.childNodes);
    } catch {
      live.textContent = "This page could not be read again: the relay does not answer. What you see is old.";
    } finally {
      reading = false;
    }
  }
  if (every && live) setInterval(refresh, every);

  const pages = { o: "/", m: "/messages", k: "/keys", d: "/destinations", p: "/operations", y: "/activity", t: "/doctor" };
  let going = 0;
  addEventListener("keydown", (e) => {
    if (e.ctrlKey || e.metaKey || e.altKey || e.target.matches("input, textarea, select")) return;
    if (e.key === "g") { going = Date.now(); return; }
    if (Date.now() - going < 1500 && pages[e.key]) location.href = pages[e.key];
    going = 0;
    const filter = document.getElementById("q");
    if (e.key === "/" && filter) { e.preventDefault(); filter.focus(); }
  });
})();
