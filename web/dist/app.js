document.body.append("Parley 0.1");
