var e=self;e.addEventListener("activate",()=>{e.registration.unregister()});
