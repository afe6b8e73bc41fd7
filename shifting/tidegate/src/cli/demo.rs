//! `tidegate demo`: hands the rest of the program to the demo.

use std::process::ExitCode;

use super::{Failure, Outcome};
use crate::bootstrap::{BootstrapOptions, ControlPlaneAddress, bootstrap};
use crate::demo::{self, Options, SidecarPlace, Tools};
use crate::envoy;

pub(crate) async fn run(mut options: Options, json: bool) -> Outcome {
    options.json = json;
    let program = std::env::current_exe()
        .map_err(|error| Failure(format!("cannot find this program's own file: {error}")))?;
    let tools = Tools {
        program,
        find_envoy: |explicit| {
            let found = envoy::find(explicit, &mut |progress| envoy::tell_on_stderr(&progress))?;
            Ok(found.path)
        },
        bootstrap: |place| Ok(bootstrap(&options_of(place))?),
    };
    match demo::run(options, tools).await {
        Ok(outcome) => Ok(ExitCode::from(outcome.exit_code())),
        Err(error) => {
            eprintln!("tidegate: {error}");
            Ok(ExitCode::from(error.exit_code()))
        }
    }
}

fn options_of(place: &SidecarPlace) -> BootstrapOptions {
    BootstrapOptions {
        node_id: place.id.clone(),
        fleet: place.fleet.clone(),
        zone: place.zone.clone(),
        region: String::new(),
        control_planes: vec![ControlPlaneAddress::from(place.xds)],
        admin: place.admin,
        load_reports: false,
        tls: None,
    }
}
