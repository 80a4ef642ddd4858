var o="0.1";export{o as version};
