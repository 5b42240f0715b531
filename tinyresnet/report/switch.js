// The language of the page: as the address says (#zh, #zh-curves), else as the browser's.
(function () {
  "use strict";
  function speak() {
    var hash = location.hash.slice(1);
    var said = hash === "en" || hash === "zh" ? hash : /^(en|zh)-/.test(hash) ? hash.slice(0, 2) : "";
    var language = said || (/^zh/i.test(navigator.language) ? "zh" : "en");
    document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
    ["alt", "aria-label", "content"].forEach(function (name) {
      document.querySelectorAll("[data-" + language + "-" + name + "]").forEach(function (element) {
        element.setAttribute(name, element.getAttribute("data-" + language + "-" + name));
      });
    });
    document.title = document.body.getAttribute("data-title-" + language);
    document.querySelectorAll(".languages a").forEach(function (link) {
      if (link.hash === "#" + language) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    });
  }
  addEventListener("hashchange", speak);
  speak();
})();
