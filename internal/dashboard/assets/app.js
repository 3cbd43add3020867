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
  const silent = "This page could not be read again: the relay does not answer. What you see is old.";
  const opened = Date.now();
  let reading = false, stale = false, read = Date.now();
  async function refresh() {
    if (reading || busy()) return;
    reading = true;
    stale = false;
    read = Date.now();
    try {
      const answer = await fetch(location.pathname + location.search, { headers: { Accept: "text/html" } });
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      const content = fresh.getElementById("main");
      if (!content) return;
      if (busy()) { stale = true; return; }
      const said = main.querySelector(".notice"); // what was done stays to be read
      if (said && Date.now() - opened < 10000 && !content.querySelector(".notice")) content.prepend(said);
      if (content.innerHTML !== main.innerHTML) main.replaceChildren(...content.childNodes);
      const at = fresh.getElementById("live");
      if (at) live.replaceChildren(...at.childNodes);
      if (!fresh.body.dataset.live) leave(); // it has come to its end
    } catch {
      live.textContent = silent;
    } finally {
      reading = false;
    }
  }
  // The relay says when something has changed. Where it does not, the page is read again by the clock.
  let source = null, ended = false;
  function listen() {
    if (ended || source || document.hidden || !window.EventSource) return;
    const from = source = new EventSource(document.body.dataset.events);
    from.addEventListener("open", () => { stale = true; }); // of what changed before it was open nobody tells
    from.addEventListener("changed", () => { stale = true; refresh(); });
    from.addEventListener("error", () => {
      if (from.readyState === EventSource.CLOSED) { // refused: too many listen, or the relay is another one
        if (source === from) source = null;
        setTimeout(listen, 60000);
        return;
      }
      live.textContent = silent;
    });
  }
  function leave(forever = true) {
    ended = ended || forever;
    if (source) source.close();
    source = null;
  }
  if (every && live) {
    listen();
    setInterval(() => { if (!ended && (stale || !source && Date.now() - read >= every)) refresh(); }, 1000);
    document.addEventListener("visibilitychange", () => { // a tab that nobody sees takes no connection
      if (document.hidden) { leave(false); return; }
      stale = true;
      listen();
    });
    addEventListener("pagehide", () => leave(false));
    addEventListener("pageshow", (e) => { if (e.persisted) { stale = true; listen(); } });
  }

  const pages = { o: "/", m: "/messages", k: "/keys", d: "/destinations", p: "/operations", a: "/audit", y: "/activity", t: "/doctor" };
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
