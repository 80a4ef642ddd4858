import {version} from '../sdk/index.ts'; document.body.append('Parley ' + version);
